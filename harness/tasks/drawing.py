"""Helps tasks draw and write their contexts."""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from harness.tasks import vocabulary as words

_T = TypeVar("_T")


def redrawn(row: list[_T], alphabet: Sequence[_T], generator: random.Random) -> Iterator[list[_T]]:
    """The row, and the same list with one item after the other drawn again, without end.

    Not for small alphabets: a few items, all on the wrong side, would never change the split.
    """
    while True:
        yield row
        row[generator.randrange(len(row))] = generator.choice(alphabet)


def shuffle(row: list[_T], generator: random.Random) -> None:
    """As `generator.shuffle`, bit for bit, in half the time: its calls are what takes long."""
    getrandbits = generator.getrandbits
    for last in range(len(row) - 1, 0, -1):
        num_bits = (last + 1).bit_length()
        place = getrandbits(num_bits)
        while place > last:
            place = getrandbits(num_bits)
        row[last], row[place] = row[place], row[last]


def another(true: _T, near: Iterable[_T], alphabet: Sequence[_T], generator: random.Random) -> _T:
    """A false one in the place of the true: of those near by, or where all are alike of any."""
    others = [one for one in dict.fromkeys(near) if one != true]
    return generator.choice(others or [one for one in alphabet if one != true])


def depth(place: int, number: int) -> float:
    """The middle of one of so many equal parts of a context; `place` counts from 0."""
    return (place + 0.5) / number


def row_text(row: Iterable[str]) -> str:
    """The words of a context, and its end."""
    return f"{' '.join(row)} {words.SEPARATOR}"


def passages(texts: Iterable[str]) -> str:
    """Texts with their ends: what a dense search returns is one of them."""
    return f" {words.SEPARATOR} ".join(texts) + f" {words.SEPARATOR}"
