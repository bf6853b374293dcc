"""Cells of a grid that cannot be asked, and why; the others of the grid are asked all the same."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """One cell as it was asked for, and a line that names what to change."""

    endpoint: str
    task: str
    size: int
    # None: no prompting was named.
    prompting: str | None
    reason: str


def refused_lines(refused: Iterable[Refused]) -> list[str]:
    """One line a reason, with how many cells it is the reason of."""
    counts = Counter(one.reason for one in refused)
    return [
        f"refused, {number} {'cell' if number == 1 else 'cells'}: {reason}"
        for reason, number in counts.items()
    ]


def nothing_left(refused: Sequence[Refused]) -> InputError:
    """The error where every cell is refused: a reason a line."""
    return InputError("\n".join(dict.fromkeys(one.reason for one in refused)))
