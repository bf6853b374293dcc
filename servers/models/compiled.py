"""Loops over arrays, compiled: what takes torch many calls, each with a cost of its own."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Sums may be taken in another order, and products be fused: what vectors need. NaN stays NaN.
_FAST_MATH: Final = {"contract", "nsz", "reassoc"}


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compiles at the first call; on disk, where that can be written, for the next process."""
    options: dict[str, Any] = {"nogil": True, "fastmath": _FAST_MATH, "error_model": "numpy"}
    try:
        loop: Callable[..., None] = njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder for it
        loop = njit(**options)(function)
    return loop
