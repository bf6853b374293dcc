"""A code of so many bits for a recurrent state: what stays of a state that has to pass through it.

A transform code (Goyal, IEEE Signal Processing Magazine 18(5), 2001), fitted once to states that
are known beforehand: their principal components, each with a uniform quantizer of its own, and all
bits shared out so that each goes where the error is largest. Which component has how many bits
never depends on the state that is coded, so its code has exactly so many bits, and all that is
decoded is a function of them.

Shapes: M states to fit to, E entries of a state, K components with bits.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

# Of the best uniform quantizer of a normal variable with 2, 4, ... levels, in standard deviations
# (Max, Quantizing for minimum distortion, IRE Transactions on Information Theory 6, 1960, table 2).
_STEPS: Final = (1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)
# What the first bit leaves of a normal variable's variance; a further one leaves about a quarter.
_FIRST_BIT_LEAVES: Final = 0.3634
_FURTHER_BIT_LEAVES: Final = 0.25
# Components below this share of the largest variance are rounding.
_LEAST_VARIANCE: Final = 1e-9


class StateCodeError(ValueError):
    """No code of so many bits can be fitted to these states."""


@dataclass(frozen=True, kw_only=True)
class StateCode:
    """`bits_K[k]` bits say in which of as many intervals of width `steps_K[k]` component k lies."""

    mean_E: Tensor
    components_EK: Tensor
    bits_K: Tensor
    steps_K: Tensor

    @classmethod
    def fit(cls, states_ME: Tensor, num_bits: int) -> Self:
        """Raises StateCodeError where the states have too few components for so many bits."""
        mean_E = states_ME.mean(0)
        centred_ME = states_ME - mean_E
        # Of the M x M products, as there are fewer states than entries in all but small models.
        scatter_M, vectors_MM = torch.linalg.eigh((centred_ME @ centred_ME.T).double())
        scatter_M, vectors_MM = scatter_M.flip(0), vectors_MM.flip(1)
        num_components = int((scatter_M > scatter_M[0] * _LEAST_VARIANCE).sum())
        if len(_STEPS) * num_components < num_bits:
            raise StateCodeError(
                f"{num_bits} bits are more than a code for {num_components} different directions "
                f"of {len(states_ME)} states has use for: {len(_STEPS) * num_components}"
            )
        variances = (scatter_M[:num_components] / len(states_ME)).tolist()
        bits = share_bits(variances, num_bits)
        coded_K = torch.tensor([k for k, count in enumerate(bits) if count])
        bits_K = torch.tensor([count for count in bits if count])
        deviations_K = torch.tensor(variances)[coded_K].sqrt()
        scales_K = scatter_M[coded_K].sqrt()
        return cls(
            mean_E=mean_E,
            components_EK=centred_ME.T @ (vectors_MM[:, coded_K] / scales_K).float(),
            bits_K=bits_K,
            steps_K=torch.tensor(_STEPS)[bits_K - 1] * deviations_K,
        )

    def encode(self, state_E: Tensor) -> Tensor:
        """Whole numbers (K), the k-th from 0 to below 2 ** bits_K[k]."""
        coordinates_K = (state_E - self.mean_E) @ self.components_EK
        levels_K = 2**self.bits_K
        intervals_K = (coordinates_K / self.steps_K + levels_K / 2).floor().long()
        return torch.minimum(intervals_K.clamp(min=0), levels_K - 1)

    def decode(self, code_K: Tensor) -> Tensor:
        """The state (E) that a code stands for: the middle of its intervals."""
        coordinates_K = (code_K - 2**self.bits_K / 2 + 0.5) * self.steps_K
        return self.mean_E + self.components_EK @ coordinates_K


def share_bits(variances: Sequence[float], num_bits: int) -> list[int]:
    """Bits of each component, one after another to where the largest error is left."""
    bits = [0] * len(variances)
    left = [(-variance, place) for place, variance in enumerate(variances)]
    heapq.heapify(left)
    for _ in range(num_bits):
        error, place = heapq.heappop(left)
        leaves = _FURTHER_BIT_LEAVES if bits[place] else _FIRST_BIT_LEAVES
        bits[place] += 1
        if bits[place] < len(_STEPS):
            heapq.heappush(left, (error * leaves, place))
    return bits
