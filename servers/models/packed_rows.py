"""Rows of tokens one after another, without what pads them: as Mamba2's loops read them.

Shapes: B rows, L tokens, T tokens of all rows.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from harness_servers.models.compiled import Integers


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where rows of tokens belong: a slot and a length (at least 1) for each."""

    slots_B: Tensor
    lengths_B: Tensor

    @cached_property
    def arrays(self) -> tuple[Integers, Integers]:
        """Slots and lengths as the compiled loops of every layer take them."""
        return self.slots_B.numpy(), self.lengths_B.numpy()

    def pack(self, padded_BL: Tensor) -> Tensor:
        """The tokens of all rows one after another, without what pads them: (T, ...)."""
        length = padded_BL.shape[1]
        if length == 1:
            return padded_BL[:, 0]
        return padded_BL[torch.arange(length) < self.lengths_B[:, None]]

    def unpack(self, values_T: Tensor, length: int) -> Tensor:
        """The rows of packed values, zero behind their lengths: (B, L, ...)."""
        if length == 1:
            return values_T[:, None]
        padded_BL = values_T.new_zeros(len(self.lengths_B), length, *values_T.shape[1:])
        padded_BL[torch.arange(length) < self.lengths_B[:, None]] = values_T
        return padded_BL

    def last(self, values_T: Tensor) -> Tensor:
        """What stands at each row's last token: (B, ...) of (T, ...)."""
        if len(values_T) == len(self.lengths_B):
            return values_T
        return values_T[self.lengths_B.cumsum(0) - 1]
