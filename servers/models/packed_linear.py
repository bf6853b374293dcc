"""Products with a large weight, laid out once as they read it.

Shapes: T tokens, K inputs, N outputs.
"""

from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Smaller ones stay in a core's caches, and were slower packed. Of 768 x 50,288 numbers a product
# with 64 rows took 0.55 of the time, with 512 rows as long.
_MIN_NUMBERS: Final = 2**21


class PackedLinear:
    """F.linear without gradients, of a weight that is not changed any more.

    Unpacked it is laid out anew for the processor in every product: that takes as long as the
    product itself where there are a few rows for it, as in a step of decoding. A weight that is
    large enough to be packed takes its memory twice.
    """

    def __init__(self, weight_NK: Tensor, bias_N: Tensor | None = None) -> None:
        self._weight_NK = weight_NK.detach()
        self._bias_N = None if bias_N is None else bias_N.detach()
        self._packed: Any = _pack(self._weight_NK)

    def __call__(self, x_TK: Tensor) -> Tensor:
        """The outputs (T, N)."""
        # A single row is a sum over the weight as it lies.
        if self._packed is None or len(x_TK) == 1:
            return F.linear(x_TK, self._weight_NK, self._bias_N)
        output_TN: Tensor = torch.ops.mkldnn._linear_pointwise(
            x_TK, self._packed, self._bias_N, "none", [], ""
        )
        return output_TN


def _pack(weight_NK: Tensor) -> Tensor | None:
    """None where it is small, or where torch comes without oneDNN."""
    has_library: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    can_pack = has_library and weight_NK.device.type == "cpu"
    if not can_pack or weight_NK.dtype != torch.float32 or weight_NK.numel() < _MIN_NUMBERS:
        return None
    # What torch's own compiler uses for weights that are constants.
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight_NK, None)
    return packed
