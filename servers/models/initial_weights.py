"""What several architectures begin their training with.

Shapes: H heads or channels.
"""

import math
from typing import Final

import torch
from torch import Tensor

# As in transformers: wide enough for tied embeddings to tell words apart from the start.
INITIAL_EMBEDDING_STD: Final = 0.1
_SHORTEST_STEP: Final = 0.001
_LONGEST_STEP: Final = 0.1


def initial_step_bias(size: int) -> Tensor:
    """Time steps between 0.001 and 0.1, evenly in their logarithm, before the softplus: (H,)."""
    low, high = math.log(_SHORTEST_STEP), math.log(_LONGEST_STEP)
    step_H = torch.exp(torch.rand(size) * (high - low) + low)
    return step_H + torch.log(-torch.expm1(-step_H))
