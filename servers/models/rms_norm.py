"""RMS norm: torch's own where it is trained, one compiled loop where it is served.

Shapes: T vectors, D width.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.compiled import Floats, compiled


class RmsNorm(nn.RMSNorm):
    """torch's RMSNorm over the last dimension, in one call where nothing is trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Any leading dimensions."""
        if not torch.is_inference_mode_enabled():
            return super().forward(x)
        normed = torch.empty(x.shape)
        width = x.shape[-1]
        rms_norm(
            x.contiguous().numpy().reshape(-1, width),
            self._weight,
            self.eps,
            normed.numpy().reshape(-1, width),
        )
        return normed

    @cached_property
    def _weight(self) -> Floats:
        """A view (D,), made once: conversions took a third of a step of one sequence."""
        weight_D: Floats = self.weight.detach().numpy()
        return weight_D


class OffsetRmsNorm(nn.Module):
    """RMS norm as Gemma has it: what is learnt is how far each channel's weight lies from 1."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self._epsilon = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any leading dimensions."""
        return F.rms_norm(x, self.weight.shape, 1 + self.weight, self._epsilon)


@compiled
def rms_norm(x_TD: Floats, weight_D: Floats, epsilon: float, outputs_TD: Floats) -> None:
    """Each vector over the root of its mean square, channel by channel times the weight."""
    num_rows, width = x_TD.shape
    for t in range(num_rows):
        x_D, output_D = x_TD[t], outputs_TD[t]
        total = np.float32(0.0)
        for d in range(width):
            total += x_D[d] * x_D[d]
        scale = np.float32(1.0 / np.sqrt(total / width + epsilon))
        for d in range(width):
            output_D[d] = x_D[d] * scale * weight_D[d]
