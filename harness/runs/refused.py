"""Cells of a grid that are not asked, and why; the others of the grid are asked all the same."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import HarnessError, InputError, UnreachableError
from harness.runs.cell import Cell


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """One cell as it was asked for, and a line that names what to change."""

    endpoint: str
    task: str
    size: int
    # None: no prompting was named.
    prompting: str | None
    reason: str
    # Its endpoint did not start or answer: the cell is left out, and asked by a resumed run.
    is_away: bool = False

    @classmethod
    def planned(cls, cell: Cell, reason: str, *, is_away: bool = False) -> "Refused":
        """A planned cell that is not asked after all."""
        return cls(
            endpoint=cell.endpoint,
            task=cell.task,
            size=cell.size,
            prompting=cell.prompting,
            reason=reason,
            is_away=is_away,
        )


def refused_lines(refused: Iterable[Refused]) -> list[str]:
    """One line a reason, with how many cells it is the reason of."""
    counts = Counter((one.reason, one.endpoint if one.is_away else None) for one in refused)
    lines = []
    for (reason, away), number in counts.items():
        cells = "1 cell" if number == 1 else f"{number} cells"
        told = f"refused, {cells}" if away is None else f"left out, {cells} of {away}"
        lines.append(f"{told}: {reason}")
    return lines


def nothing_left(refused: Sequence[Refused]) -> HarnessError:
    """The error where every cell is refused: a reason a line."""
    kind = UnreachableError if any(one.is_away for one in refused) else InputError
    return kind("\n".join(dict.fromkeys(one.reason for one in refused)))
