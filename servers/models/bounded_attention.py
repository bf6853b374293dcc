"""Attention whose keys and values are those of so many tokens, however long the text is.

Shapes: B sequences, L tokens, D width, G key-value heads, P head width, N tokens that are kept.
"""

import torch
from torch import Tensor

from harness_servers.models.attention import Attention, AttentionShape
from harness_servers.models.token_mixer import RowState, TokenMixer


class BoundedAttention(Attention, TokenMixer):
    """`read` says which tokens are kept, and is all that a policy has to say."""

    def __init__(self, shape: AttentionShape, num_kept: int) -> None:
        super().__init__(shape)
        self.num_kept = num_kept

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """Keys and values (B, N, G, P), the newest last, and how many tokens were read (B)."""
        shape = self.shape
        kept = (num_rows, self.num_kept, shape.num_key_value_heads, shape.head_dim)
        return {
            "key": torch.zeros(kept, device=device),
            "value": torch.zeros(kept, device=device),
            "count": torch.zeros(num_rows, dtype=torch.long, device=device),
        }

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        lengths_B = torch.ones_like(state["count"])
        output_B1D, state = self.read(hidden_BD[:, None], lengths_B, state)
        return output_B1D[:, 0], state

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        state = self.init_state(len(hidden_BLD), hidden_BLD.device)
        lengths_B = torch.full_like(state["count"], hidden_BLD.shape[1])
        return self.read(hidden_BLD, lengths_B, state)[0]
