"""Attention to the last W tokens, whose keys and values lie in a ring: the state does not grow.

Token number n of a sequence has place n mod W, where it takes that of token n - W. Source: Beltagy
et al., "Longformer", arXiv 2004.05150, section 3.1; De et al., "Griffin", arXiv 2402.19427, section
2.3.
Shapes: B sequences, L new tokens, T tokens in sight, W window, D width, H query heads, G key-value
heads, P head width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.attention import Attention, AttentionShape
from harness_servers.models.token_mixer import RowState, TokenMixer


class LocalAttention(Attention, TokenMixer):
    """Rotary attention in which each token sees itself and the W - 1 before it."""

    def __init__(self, shape: AttentionShape, window: int) -> None:
        super().__init__(shape)
        self.window = window
        # In this layout it has a bias whatever the others have.
        self.o_proj = nn.Linear(self.o_proj.in_features, shape.hidden_size)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The ring of keys and values (B, W, G, P), and how many tokens have been read (B)."""
        ring = (num_rows, self.window, self.shape.num_key_value_heads, self.shape.head_dim)
        return {
            "keys": torch.zeros(ring, device=device),
            "values": torch.zeros(ring, device=device),
            "count": torch.zeros(num_rows, dtype=torch.long, device=device),
        }

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        num_rows, length, _ = hidden_BLD.shape
        places_L = torch.arange(length, device=hidden_BLD.device)
        query_BLHP, key_BLGP, value_BLGP = self.project(
            hidden_BLD, places_L.expand(num_rows, length)
        )
        is_seen_1LL = self._is_seen(places_L[None], places_L[None])
        return self.finish(_gather(query_BLHP, key_BLGP, value_BLGP, is_seen_1LL))

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        count_B = state["count"]
        query_B1HP, key_B1GP, value_B1GP = self.project(hidden_BD[:, None], count_B[:, None])
        where = torch.arange(len(count_B)), count_B % self.window
        keys_BWGP = state["keys"].index_put(where, key_B1GP[:, 0])
        values_BWGP = state["values"].index_put(where, value_B1GP[:, 0])
        # All places, once the ring is full.
        places_W = torch.arange(self.window, device=count_B.device)
        is_seen_B1W = (places_W <= count_B[:, None])[:, None]
        output_B1D = self.finish(_gather(query_B1HP, keys_BWGP, values_BWGP, is_seen_B1W))
        after = {"keys": keys_BWGP, "values": values_BWGP, "count": count_B + 1}
        return output_B1D[:, 0], after

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        count_B = state["count"]
        places_L = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
        positions_BL = count_B[:, None] + places_L
        query_BLHP, key_BLGP, value_BLGP = self.project(hidden_BLD, positions_BL)
        positions_BT = torch.cat([self._positions(count_B), positions_BL], 1)
        mixed_BLHP = _gather(
            query_BLHP,
            torch.cat([state["keys"], key_BLGP], 1),
            torch.cat([state["values"], value_BLGP], 1),
            self._is_seen(positions_BL, positions_BT),
        )
        after_B = count_B + lengths_B
        # Which of the new tokens each place holds in the end; below 0, one of those before.
        new_BW = self._positions(after_B) - count_B[:, None]
        rows_B1 = torch.arange(len(lengths_B))[:, None]
        is_new_BW11 = (new_BW >= 0)[..., None, None]
        new_BW = new_BW.clamp_min(0)
        rings = {
            name: torch.where(is_new_BW11, new_BLGP[rows_B1, new_BW], state[name])
            for name, new_BLGP in (("keys", key_BLGP), ("values", value_BLGP))
        }
        return self.finish(mixed_BLHP), {**rings, "count": after_B}

    def _positions(self, count_B: Tensor) -> Tensor:
        """Which token each place of the ring holds (B, W); below 0, none yet."""
        last_B1 = count_B[:, None] - 1
        places_W = torch.arange(self.window, device=count_B.device)
        return last_B1 - (last_B1 - places_W) % self.window

    def _is_seen(self, query_BL: Tensor, key_BT: Tensor) -> Tensor:
        """By their positions (B, L, T)."""
        distance_BLT = query_BL[..., None] - key_BT[:, None]
        return (distance_BLT >= 0) & (distance_BLT < self.window) & (key_BT[:, None] >= 0)


def _gather(
    query_BLHP: Tensor, key_BTGP: Tensor, value_BTGP: Tensor, is_seen_BLT: Tensor
) -> Tensor:
    mixed_BHLP = F.scaled_dot_product_attention(
        query_BLHP.transpose(1, 2),
        key_BTGP.transpose(1, 2),
        value_BTGP.transpose(1, 2),
        attn_mask=is_seen_BLT[:, None],
        enable_gqa=query_BLHP.shape[2] != key_BTGP.shape[2],
    )
    return mixed_BHLP.transpose(1, 2)
