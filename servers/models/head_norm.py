"""Layer norm of each head by itself.

Shapes: H heads, P head width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class HeadNorm(nn.Module):
    """Each head's channels are normed alone, then all weighed together."""

    def __init__(self, num_heads: int, head_dim: int, *, eps: float, use_bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_heads * head_dim))
        self.bias = nn.Parameter(torch.zeros(num_heads * head_dim)) if use_bias else None
        self._epsilon = eps

    def forward(self, x_HP: Tensor) -> Tensor:
        """Of any leading dimensions, (..., H, P) to (..., H P)."""
        normed = F.layer_norm(x_HP, x_HP.shape[-1:], eps=self._epsilon).flatten(-2) * self.weight
        return normed if self.bias is None else normed + self.bias
