"""Products with a weight, laid out once as they read it.

Shapes: T tokens, K inputs, N outputs, M panels of C of them.
"""

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.compiled import (
    PANEL,
    TILE_ROWS,
    Floats,
    compiled,
    tile_of_row,
    tile_of_rows,
)

# From here on oneDNN's products, below it the compiled ones, which are the faster with a few rows.
_MIN_LARGE: Final = 2**21


class PackedLinear:
    """F.linear without gradients, of a weight that is not changed any more.

    Unpacked it is laid out anew for the processor in every product: that takes as long as the
    product itself where there are a few rows for it, as in a step of decoding. A weight takes its
    memory twice.
    """

    def __init__(self, weight_NK: Tensor, bias_N: Tensor | None = None) -> None:
        self._weight_NK = weight_NK.detach()
        self._bias_N = None if bias_N is None else bias_N.detach()
        self._panels_MKC: Floats | None = None
        self._packed: Any = None
        if weight_NK.numel() >= _MIN_LARGE:
            self._packed = _pack(self._weight_NK)
        elif len(weight_NK) >= PANEL:
            self._panels_MKC = _panels(self._weight_NK, self._bias_N)

    def __call__(self, x_TK: Tensor) -> Tensor:
        """The outputs (T, N)."""
        if self._panels_MKC is not None:
            output_TN = torch.empty(len(x_TK), len(self._weight_NK))
            multiply(x_TK.contiguous().numpy(), self._panels_MKC, output_TN.numpy())
            return output_TN
        # A single row is a sum over the weight as it lies.
        if self._packed is None or len(x_TK) == 1:
            return F.linear(x_TK, self._weight_NK, self._bias_N)
        packed_TN: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_TK, self._packed, self._bias_N, "none", [], ""
        )
        return packed_TN


@compiled
def multiply(x_TK: Floats, panels_MKC: Floats, outputs_TN: Floats) -> None:
    """Panel by panel: one stays in the first cache for all rows."""
    num_rows, num_outputs = outputs_TN.shape
    for m in range(len(panels_MKC)):
        n = min(m * PANEL, num_outputs - PANEL)
        if num_rows < TILE_ROWS:
            for t in range(num_rows):
                tile_of_row(x_TK, panels_MKC, outputs_TN, t, m, n)
        else:
            # The last rows may be computed twice, to the same.
            for t in range(0, num_rows, TILE_ROWS):
                first = min(t, num_rows - TILE_ROWS)
                tile_of_rows(x_TK, panels_MKC, outputs_TN, first, m, n)


def _panels(weight_NK: Tensor, bias_N: Tensor | None) -> Floats:
    """The bias, then the weights of every input, for C outputs each; the last C may overlap."""
    num_outputs, num_inputs = weight_NK.shape
    by_input = np.zeros((num_inputs + 1, num_outputs), np.float32)
    by_input[1:] = weight_NK.numpy().T
    if bias_N is not None:
        by_input[0] = bias_N.numpy()
    starts = [min(start, num_outputs - PANEL) for start in range(0, num_outputs, PANEL)]
    return np.stack([by_input[:, start : start + PANEL] for start in starts])


def _pack(weight_NK: Tensor) -> Tensor | None:
    """None where torch comes without oneDNN."""
    has_library: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not has_library or weight_NK.device.type != "cpu" or weight_NK.dtype != torch.float32:
        return None
    # What torch's own compiler uses for weights that are constants.
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_NK, None)
    return packed
