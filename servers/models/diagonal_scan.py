"""A recurrence in which no number of the state depends on another: h[t] = a[t] h[t-1] + b[t].

Shapes: B sequences, L tokens, Q tokens of a chunk.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_CHUNK_SIZE: Final = 16


def scan_diagonal(decay_BL: Tensor, gain_BL: Tensor, state_B: Tensor) -> Tensor:
    """The states after each token (B, L, ...), with gradients.

    Within a chunk by doubling (Hillis and Steele, 1986), so that few operations do many tokens;
    from chunk to chunk one after the other.
    """
    length = decay_BL.shape[1]
    states = []
    for start in range(0, length, _CHUNK_SIZE):
        decay_BQ = decay_BL[:, start : start + _CHUNK_SIZE]
        gain_BQ = gain_BL[:, start : start + _CHUNK_SIZE]
        reach = 1
        while reach < decay_BQ.shape[1]:
            before_BQ = _shifted(gain_BQ, reach, 0.0)
            gain_BQ = gain_BQ + decay_BQ * before_BQ
            decay_BQ = decay_BQ * _shifted(decay_BQ, reach, 1.0)
            reach *= 2
        states.append(gain_BQ + decay_BQ * state_B[:, None])
        state_B = states[-1][:, -1]
    return torch.cat(states, 1)


def _shifted(tensor_BQ: Tensor, places: int, filler: float) -> Tensor:
    """Each token gets what stands so many before it."""
    padding = (0, 0) * (tensor_BQ.dim() - 2) + (places, 0)
    return F.pad(tensor_BQ[:, :-places], padding, value=filler)
