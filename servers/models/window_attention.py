"""Attention to the last few tokens, whose keys and values are all that is kept of a sequence.

Shapes: B sequences, L tokens, D width, G key-value heads, P head width, J = window - 1 tokens that
are kept, T = J + L.
"""

import torch
from torch import Tensor

from harness_servers.models.attention import AttentionShape, attend_where
from harness_servers.models.bounded_attention import BoundedAttention
from harness_servers.models.token_mixer import RowState


class WindowAttention(BoundedAttention):
    """Each token attends to itself and to the `window` - 1 tokens before it."""

    def __init__(self, shape: AttentionShape, window: int) -> None:
        super().__init__(shape, window - 1)
        self.window = window

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        before_B, num_kept = state["count"], self.num_kept
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
