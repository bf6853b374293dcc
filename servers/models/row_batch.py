"""Memories of sequences of different lengths as the rows of one: they decode together.

What grows with a sequence is in batched_layers.py; all else is stacked, sequence by sequence.
Shapes: R rows, T columns.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from harness_servers.models.batched_layers import (
    BatchedAttention,
    Frame,
    batched,
    is_attention,
)
from harness_servers.models.memory import Memory, combine, row_of

# Of a layer that has attention and a recurrence as well.
_STATES: Final = ("conv_states", "recurrent_states")


class RowBatch:
    """The rows are those of `shared`, in an order of the batch's own."""

    def __init__(self) -> None:
        self.shared = Memory()
        self.lengths_R = torch.zeros(0, dtype=torch.long)
        self._rows: list[Memory | None] = []
        self._frame = Frame()

    @property
    def rows(self) -> list[Memory]:
        """Whose memory each row is."""
        return [memory for memory in self._rows if memory is not None]

    def let_go(self, going: Collection[Memory]) -> None:
        """Gives these their memories back; of those that are over nothing is copied."""
        for row, memory in enumerate(self._rows):
            if memory is None or memory not in going:
                continue
            if not memory.is_over:
                memory.cache = self._copy(self.shared.cache, row, memory.num_read)
                memory.kept = row_of(self.shared.kept, row)
            memory.batch = self._rows[row] = None

    def take_in(self, wanted: Sequence[Memory]) -> None:
        """Those of these that are in no batch become rows; to be called before it is used.

        Raises NotBatchableError.
        """
        before = len(self._rows)
        joining = [memory for memory in wanted if memory.batch is None]
        order = _order(self._rows, len(joining))
        if order == [*range(before)]:
            return
        sources = [*self._rows, *joining]
        self._rows = [sources[source] for source in order]
        self.lengths_R = torch.tensor([memory.num_read for memory in self.rows])
        self._join(joining, order, before)
        for memory in joining:
            memory.batch, memory.cache, memory.kept = self, None, {}

    def mask(self) -> Tensor:
        """(R, T + 1): 1 where a row has a token, or reads one; all end in the same column."""
        first_R = self._frame.width - self.lengths_R
        return (torch.arange(self._frame.width + 1) >= first_R[:, None]).long()

    def advance(self) -> None:
        """Each row has read a token."""
        self.lengths_R = self.lengths_R + 1
        self._frame.width += 1
        for memory in self.rows:
            memory.num_read += 1

    def _join(self, joining: Sequence[Memory], order: list[int], before: int) -> None:
        width = int(self.lengths_R.max())

        def stack(tensors: Sequence[Tensor]) -> Tensor:
            return torch.cat([*tensors])[order]

        def arrange(layers: Sequence[Any]) -> BatchedAttention | None:
            if not is_attention(layers[0]):
                return None
            made = layers[0] if before else batched(layers[0], self._frame)
            made.arrange(order, layers[1:] if before else layers, width)
            for name in _STATES:
                if hasattr(made, name):
                    states = [getattr(layer, name) for layer in layers]
                    setattr(made, name, combine(states, stack))
            return made

        memories = [self.shared, *joining] if before else joining
        self.shared.cache = combine([one.cache for one in memories], stack, arrange)
        self.shared.kept = combine([one.kept for one in memories], stack)
        self._frame.width = width

    def _copy(self, cache: Any, row: int, num_tokens: int) -> Any:
        def take(layers: Sequence[Any]) -> Any:
            if not is_attention(layers[0]):
                return None
            made = layers[0].take(row, num_tokens)
            for name in _STATES:
                if hasattr(made, name):
                    setattr(made, name, row_of(getattr(layers[0], name), row))
            return made

        return combine([cache], lambda tensors: tensors[0][row : row + 1].clone(), take)


class Batches:
    """All that decode, in one batch for each class of their lengths."""

    def __init__(self, class_of: Callable[[int], Hashable]) -> None:
        self._class_of = class_of
        self._batches: dict[Hashable, RowBatch] = {}

    def arrange(self, memories: Sequence[Memory]) -> list[tuple[RowBatch, list[int]]]:
        """The batches that have these as rows from now on, and which of them each row is.

        Raises NotBatchableError.
        """
        wanted: dict[Hashable, list[Memory]] = {}
        for memory in memories:
            wanted.setdefault(self._class_of(memory.num_read), []).append(memory)
        for key, batch in self._batches.items():
            batch.let_go({*batch.rows}.difference(wanted.get(key, ())))
        self._batches = {key: self._batches.get(key) or RowBatch() for key in wanted}
        places = {memory: place for place, memory in enumerate(memories)}
        found = []
        for key, batch in self._batches.items():
            batch.take_in(wanted[key])
            found.append((batch, [places[memory] for memory in batch.rows]))
        return found


def _order(rows: Sequence[Memory | None], num_joining: int) -> list[int]:
    """Of each row to be: which of these it is, or (counting on) which of those that join.

    Who joins fills the gaps; where gaps are left the last rows do.
    """
    order = [None if memory is None else row for row, memory in enumerate(rows)]
    for source in range(len(rows), len(rows) + num_joining):
        if None in order:
            order[order.index(None)] = source
        else:
            order.append(source)
    while None in order:
        last = order.pop()
        if last is not None:
            order[order.index(None)] = last
    return [source for source in order if source is not None]
