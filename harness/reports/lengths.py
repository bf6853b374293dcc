"""Effective lengths of a report: of each task, way and endpoint over its sizes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness.reports.rows import NOTHING, number
from harness.runs.results import CellResult
from harness.scoring.effective_length import EffectiveLength, effective_length

# The task with its parameters, the way, and the endpoint's label.
Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """A row; `found` None: nothing was right at the smallest size."""

    task: str
    way: str
    endpoint: str
    sizes: tuple[int, ...]
    found: EffectiveLength | None


def lengths(cells: Iterable[CellResult]) -> list[Length]:
    """Where at least two sizes have samples."""
    grid: dict[Key, dict[int, float]] = {}
    for cell in cells:
        if cell.metrics.accuracy is not None:
            grid.setdefault(_key(cell), {})[cell.asked.size] = cell.metrics.accuracy
    return [
        Length(
            task=task,
            way=way,
            endpoint=endpoint,
            sizes=tuple(sorted(by_size)),
            found=effective_length(by_size),
        )
        for (task, way, endpoint), by_size in sorted(grid.items())
        if len(by_size) > 1
    ]


def length_json(cell: CellResult, found: Iterable[Length]) -> dict[str, Any]:
    """What a row of `--json` says of it: the length is that of the cell's endpoint, task and way.

    None where there is none. At least: nothing larger was asked.
    """
    of_cell = {(one.task, one.way, one.endpoint): one.found for one in found}.get(_key(cell))
    return {
        "effective_length": of_cell and of_cell.size,
        "effective_length_at_least": of_cell and of_cell.is_least,
    }


def _key(cell: CellResult) -> Key:
    return cell.asked.task_label, cell.way, cell.label


def _told(found: EffectiveLength | None) -> str:
    if found is None:
        return NOTHING
    return f"at least {found.size}" if found.is_least else str(found.size)


LENGTHS: Final[Mapping[str, Callable[[Length], str]]] = {
    "task": lambda row: row.task,
    "way": lambda row: row.way,
    "endpoint": lambda row: row.endpoint,
    "sizes": lambda row: ", ".join(map(str, row.sizes)),
    "accuracy at the smallest": lambda row: number(row.found.base if row.found else 0.0, 3),
    "effective length": lambda row: _told(row.found),
}
