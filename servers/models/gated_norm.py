"""The norm behind a Mamba2 mixer's scan, gated first: one compiled loop where it is served.

Shapes: O vectors, I inner width.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.compiled import Floats, compiled, exp
from harness_servers.models.rms_norm import RmsNorm


class GatedRmsNorm(RmsNorm):
    """RMS norm of x * silu(gate): over the whole inner width, or over equal parts of it."""

    def __init__(self, inner_size: int, *, eps: float, num_parts: int) -> None:
        super().__init__(inner_size, eps=eps)
        self._num_parts = num_parts

    def forward(self, x_I: Tensor, gate_I: Tensor) -> Tensor:  # type: ignore[override]
        """Any leading dimensions; where nothing is trained (O, I)."""
        if torch.is_inference_mode_enabled():
            normed_OI = torch.empty(x_I.shape)
            arrays = (x_I.numpy(), gate_I.numpy(), self._weight)
            gate_and_norm(*arrays, self._num_parts, self.eps, normed_OI.numpy())
            return normed_OI
        gated_I = x_I * F.silu(gate_I)
        if self._num_parts == 1:
            return super().forward(gated_I)
        by_part = torch.unflatten(gated_I, -1, (self._num_parts, -1))
        normed_I = F.rms_norm(by_part, by_part.shape[-1:], eps=self.eps).flatten(-2)
        return normed_I * self.weight


@compiled
def gate_and_norm(
    x_OI: Floats,
    gate_OI: Floats,
    weight_I: Floats,
    num_parts: int,
    epsilon: float,
    outputs_OI: Floats,
) -> None:
    """Each part of each vector times silu(gate), over its root mean square, times the weight."""
    width = len(weight_I) // num_parts
    one = np.float32(1.0)
    for o in range(len(x_OI)):
        for start in range(0, len(weight_I), width):
            part = slice(start, start + width)
            x_I, gate_I, output_I = x_OI[o, part], gate_OI[o, part], outputs_OI[o, part]
            total = np.float32(0.0)
            for i in range(width):
                gated = x_I[i] * gate_I[i] / (one + exp(-gate_I[i]))
                output_I[i] = gated
                total += gated * gated
            scale = np.float32(1.0 / np.sqrt(total / width + epsilon))
            for i in range(width):
                output_I[i] *= scale * weight_I[start + i]
