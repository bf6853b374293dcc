"""Causal self-attention, over its own input or over caches that lie in the slots of a pool.

Parameters are named as in Hugging Face's Bamba and Llama layouts.
Shapes: B sequences, L new tokens, T tokens attended to, D width, H query heads, G key-value heads,
P head width, R rotated channels of a head.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionShape:
    """The sizes of one attention layer; `rotary_size` of each head's P channels are rotated.

    0 of them: it knows the order of its tokens from elsewhere.
    """

    hidden_size: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    rotary_size: int
    rope_theta: float
    # Of queries, keys and values.
    use_bias: bool = False
    use_output_bias: bool = False


class Attention(nn.Module):
    """Grouped-query attention with rotary positions (Su et al., arXiv 2104.09864)."""

    def __init__(self, shape: AttentionShape) -> None:
        super().__init__()
        self.shape = shape
        query_size = shape.num_heads * shape.head_dim
        key_size = shape.num_key_value_heads * shape.head_dim
        self.q_proj = nn.Linear(shape.hidden_size, query_size, bias=shape.use_bias)
        self.k_proj = nn.Linear(shape.hidden_size, key_size, bias=shape.use_bias)
        self.v_proj = nn.Linear(shape.hidden_size, key_size, bias=shape.use_bias)
        self.o_proj = nn.Linear(query_size, shape.hidden_size, bias=shape.use_output_bias)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Attends within whole sequences: (B, L, D)."""
        num_rows, length, _ = hidden_BLD.shape
        positions_BL = torch.arange(length, device=hidden_BLD.device).expand(num_rows, length)
        query_BLHP, key_BLGP, value_BLGP = self.project(hidden_BLD, positions_BL)
        return self.finish(attend(query_BLHP, key_BLGP, value_BLGP, positions_BL))

    def project(self, hidden_BLD: Tensor, positions_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (B, L, H, P), rotated keys and values (B, L, G, P)."""
        by_head = (-1, self.shape.head_dim)
        query_BLHP = self.q_proj(hidden_BLD).unflatten(-1, by_head)
        key_BLGP = self.k_proj(hidden_BLD).unflatten(-1, by_head)
        value_BLGP = self.v_proj(hidden_BLD).unflatten(-1, by_head)
        if not self.shape.rotary_size:
            return query_BLHP, key_BLGP, value_BLGP
        cos_BLR, sin_BLR = self._rotation(positions_BL)
        return (
            _rotate(query_BLHP, cos_BLR, sin_BLR),
            _rotate(key_BLGP, cos_BLR, sin_BLR),
            value_BLGP,
        )

    def finish(self, mixed_BLHP: Tensor) -> Tensor:
        """The output projection of what the heads have gathered: (B, L, D)."""
        output_BLD: Tensor = self.o_proj(mixed_BLHP.flatten(2))
        return output_BLD

    def _rotation(self, positions_BL: Tensor) -> tuple[Tensor, Tensor]:
        size = self.shape.rotary_size
        steps = torch.arange(0, size, 2, device=positions_BL.device, dtype=torch.float32)
        angles_BLR = positions_BL[..., None] * self.shape.rope_theta ** (-steps / size)
        angles_BLR = torch.cat([angles_BLR, angles_BLR], -1)
        return angles_BLR.cos(), angles_BLR.sin()


def attend(
    query_BLHP: Tensor, key_BTGP: Tensor, value_BTGP: Tensor, positions_BL: Tensor
) -> Tensor:
    """Each query gathers from the tokens up to its own position: (B, L, H, P)."""
    places_T = torch.arange(key_BTGP.shape[1], device=key_BTGP.device)
    return attend_where(query_BLHP, key_BTGP, value_BTGP, places_T <= positions_BL[..., None])


def attend_where(
    query_BLHP: Tensor, key_BTGP: Tensor, value_BTGP: Tensor, is_seen_BLT: Tensor
) -> Tensor:
    """Each query gathers from the tokens that it sees, of which there is one: (B, L, H, P)."""
    mixed_BHLP = F.scaled_dot_product_attention(
        query_BLHP.transpose(1, 2),
        key_BTGP.transpose(1, 2),
        value_BTGP.transpose(1, 2),
        attn_mask=is_seen_BLT[:, None],
        enable_gqa=query_BLHP.shape[2] != key_BTGP.shape[2],
    )
    return mixed_BHLP.transpose(1, 2)


def _rotate(x_BLHP: Tensor, cos_BLR: Tensor, sin_BLR: Tensor) -> Tensor:
    """Rotates the first R channels of each head, pairing channel i with i + R / 2."""
    size = cos_BLR.shape[-1]
    turned_BLHR, rest = torch.split(x_BLHP, [size, x_BLHP.shape[-1] - size], -1)
    first, second = turned_BLHR.chunk(2, -1)
    crossed_BLHR = torch.cat([-second, first], -1)
    turned_BLHR = turned_BLHR * cos_BLR[:, :, None] + crossed_BLHR * sin_BLR[:, :, None]
    return torch.cat([turned_BLHR, rest], -1)
