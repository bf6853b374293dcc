"""What every task does to make a sample: check its parameters, name it, stay in its split."""

import random
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

from harness.sample import Address, Split
from harness.tasks.splits import split_of
from harness.tasks.task import UnsupportedError

_T = TypeVar("_T")


class _Parameters(Protocol):
    name: ClassVar[str]
    size_unit: ClassVar[str]
    min_size: ClassVar[int]
    max_size: ClassVar[int]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def size(self) -> int: ...


def check_size(task: _Parameters) -> None:
    """Raises UnsupportedError for a size out of range."""
    if not task.min_size <= task.size <= task.max_size:
        raise UnsupportedError(
            f"{task.name}: size {task.size} is out of range: "
            f"{task.min_size} to {task.max_size} {task.size_unit}"
        )


def check_parameter(task: _Parameters, parameter: str, low: int, high: int) -> None:
    """Raises UnsupportedError for a parameter that is out of range at the task's size."""
    value = getattr(task, parameter)
    if not low <= value <= high:
        raise UnsupportedError(
            f"{task.name}: {parameter} {value} is out of range: {low} to {high} at size {task.size}"
        )


def address_of(task: _Parameters, split: Split, seed: int, index: int) -> Address:
    """The address of a sample: all parameters are part of it, in alphabetical order."""
    return Address(
        task=task.name,
        parameters=tuple(
            (name, getattr(task, name)) for name in sorted(f.name for f in fields(task))
        ),
        split=split,
        seed=seed,
        index=index,
    )


def settle(
    split: Split,
    generator: random.Random,
    drawn: list[str],
    alphabet: Sequence[str],
    context_of: Callable[[Sequence[str]], str],
) -> str:
    """The context of `drawn`, of which one word is drawn again until it falls into the split."""
    while split_of(context := context_of(drawn)) is not split:
        drawn[generator.randrange(len(drawn))] = generator.choice(alphabet)
    return context


def draw_until(split: Split, draw: Callable[[], tuple[str, _T]]) -> tuple[str, _T]:
    """The first context that falls into the split, with what else was drawn.

    For small alphabets: a few words, all on the wrong side, would never settle.
    """
    while True:
        context, drawn = draw()
        if split_of(context) is split:
            return context, drawn


def shifts(asked: Sequence[int], num_places: int) -> list[list[int]]:
    """Places that are asked, and the same moved on by one, two, ...: each is asked as often."""
    return [[(place + step) % num_places for place in asked] for step in range(num_places)]
