"""Attention to the last few tokens, whose keys and values are all that is kept of a sequence.

Shapes: B sequences, L tokens, D width, G key-value heads, P head width, J = window - 1 tokens that
are kept, T = J + L.
"""

import torch
from torch import Tensor

from harness_servers.models.attention import Attention, AttentionShape, attend_where
from harness_servers.models.token_mixer import RowState, TokenMixer


class WindowAttention(Attention, TokenMixer):
    """Each token attends to itself and to the `window` - 1 tokens before it."""

    def __init__(self, shape: AttentionShape, window: int) -> None:
        super().__init__(shape)
        self.window = window

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """Keys and values (B, J, G, P), the newest last, and how many tokens were read (B)."""
        shape = self.shape
        kept = (num_rows, self.window - 1, shape.num_key_value_heads, shape.head_dim)
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

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        before_B, num_kept = state["count"], self.window - 1
        places_L = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
        query_BLHP, key_BLGP, value_BLGP = self.project(hidden_BLD, before_B[:, None] + places_L)
        key_BTGP = torch.cat([state["key"], key_BLGP], 1)
        value_BTGP = torch.cat([state["value"], value_BLGP], 1)
        places_T = torch.arange(key_BTGP.shape[1], device=hidden_BLD.device)
        age_LT = places_L[:, None] + num_kept - places_T
        is_there_BT = places_T >= num_kept - before_B[:, None]
        is_seen_BLT = (age_LT >= 0) & (age_LT < self.window) & is_there_BT[:, None]
        mixed_BLHP = attend_where(query_BLHP, key_BTGP, value_BTGP, is_seen_BLT)
        rows_B1 = torch.arange(len(before_B), device=hidden_BLD.device)[:, None]
        kept_BJ = lengths_B[:, None] + places_T[:num_kept]
        return self.finish(mixed_BLHP), {
            "key": key_BTGP[rows_B1, kept_BJ],
            "value": value_BTGP[rows_B1, kept_BJ],
            "count": before_B + lengths_B,
        }
