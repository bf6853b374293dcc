"""What a sequence of a foreign model carries between tokens, as transformers holds it.

Its form is the model's own business: tensors with a row for each sequence, somewhere in lists,
mappings and objects.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from harness_servers.models.row_batch import RowBatch

# A module that keeps a sequence's state itself, and the name that it has there.
Place = tuple[nn.Module, str]


@dataclass(kw_only=True, slots=True, eq=False)
class Memory:
    """Of one sequence, or of several in rows: a cache of transformers, and how long they are.

    `kept`: what the model's modules would keep themselves, by its place there.
    """

    cache: Any = None
    num_read: int = 0
    kept: dict[Place, Any] = field(default_factory=dict)
    # Where cache and kept are instead, while the sequence is decoded with others.
    batch: "RowBatch | None" = None
    # Nobody will ask for it again.
    is_over: bool = False

    def split(self, num_rows: int) -> "list[Memory]":
        """One of each sequence, where all have read as many tokens."""
        return [
            Memory(
                cache=row_of(self.cache, row), kept=row_of(self.kept, row), num_read=self.num_read
            )
            for row in range(num_rows)
        ]

    def become(self, other: "Memory") -> None:
        """Takes over what another sequence, or the same elsewhere, carries."""
        self.cache, self.kept, self.num_read = other.cache, other.kept, other.num_read

    def num_bytes(self) -> int:
        """Of all numbers that can be reached from here; counters do not count."""
        found = {id(tensor): tensor for tensor in _tensors([self.cache, *self.kept.values()])}
        return sum(tensor.nbytes for tensor in found.values() if tensor.is_floating_point())


def row_of(value: Any, row: int) -> Any:
    """A copy of a memory's part, with one of its rows."""
    return combine([value], lambda tensors: tensors[0][row : row + 1].clone())


def combine(
    values: Sequence[Any],
    of_tensors: Callable[[Sequence[Tensor]], Tensor],
    special: Callable[[Sequence[Any]], Any] = lambda _: None,
) -> Any:
    """One thing of the form that these have in common, each tensor made of those in its place.

    Where `special` makes anything of what is in a place, that is it. All else is as in the first.
    """
    first = values[0]
    if isinstance(first, Tensor):
        return of_tensors(values) if first.dim() else first
    if isinstance(first, dict):
        return {key: combine([one[key] for one in values], of_tensors, special) for key in first}
    if isinstance(first, list | tuple):
        places = zip(*values, strict=True)
        return type(first)([combine(place, of_tensors, special) for place in places])
    if isinstance(first, type) or not hasattr(first, "__dict__"):
        return first
    made = special(values)
    if made is not None:
        return made
    made = copy.copy(first)
    for name in vars(first):
        of_all = [getattr(one, name) for one in values]
        setattr(made, name, combine(of_all, of_tensors, special))
    return made


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
    elif hasattr(value, "__dict__"):
        yield from _tensors(vars(value))
