"""The gated feed-forward part that stands behind an attention or a mixer.

Shapes: D width, F inner width. Source: Shazeer, "GLU Variants Improve Transformer", arXiv
2002.05202.
"""

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class GatedFeedForward(nn.Module):
    """silu(gate) times up, and down again; named as in Hugging Face's and fla's layouts."""

    def __init__(self, hidden_size: int, inner_size: int, *, use_bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, inner_size, bias=use_bias)
        self.up_proj = nn.Linear(hidden_size, inner_size, bias=use_bias)
        self.down_proj = nn.Linear(inner_size, hidden_size, bias=use_bias)

    def forward(self, hidden_D: Tensor) -> Tensor:
        """Each token alone: any leading dimensions."""
        inner_F = F.silu(self.gate_proj(hidden_D)) * self.up_proj(hidden_D)
        output_D: Tensor = self.down_proj(inner_F)
        return output_D
