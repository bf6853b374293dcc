"""What measured accuracies are drawn beside: chance, the bound of the state, the paper."""

import math
from collections.abc import Sequence
from typing import Final

from harness.errors import InputError
from harness.reports.chart import Curve
from harness.reports.marks import mark_of
from harness.reports.paper import SIZES, PaperCurve
from harness.runs.cell import Cell
from harness.runs.results import CellResult
from harness.scoring.bound import recall_bound
from harness.tasks import make_task

_CHANCE: Final = "chance: the best guess that looks up nothing"
_NUM_BOUND_POINTS: Final = 48
Cells = Sequence[CellResult]


def by_label(cells: Cells) -> dict[str, list[CellResult]]:
    """The cells of each endpoint."""
    found: dict[str, list[CellResult]] = {}
    for cell in cells:
        found.setdefault(cell.label, []).append(cell)
    return found


def chance_curve(asked: Cell, sizes: list[int]) -> Curve:
    """The best guess; a task that is not known here has none."""
    points = [
        (float(size), chance) for size in sizes if (chance := _chance(asked, size)) is not None
    ]
    return Curve(label=_CHANCE, kind="chance", points=tuple(points))


def _chance(asked: Cell, size: int) -> float | None:
    try:
        return make_task(asked.task, size=size, **asked.parameters).chance
    except InputError:
        # A run of another version: its task or size is not known here.
        return None


def bound_curves(cells: Cells) -> list[Curve]:
    """Of the states that are all that is left of the context; the same bounds are one curve."""
    endpoints: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for label, chosen in by_label(cells).items():
        points = [(float(c.asked.size), c.bound) for c in chosen if c.bound is not None]
        if points:
            endpoints.setdefault(tuple(sorted(points)), []).append(label)
    return [
        Curve(label=f"bound of the state of {', '.join(labels)}", kind="bound", points=points)
        for points, labels in endpoints.items()
    ]


def state_bound(cells: Cells, low: int, high: int) -> list[Curve]:
    """Recall against bits of state at this size, from where it begins to rise."""
    cell = next((cell for cell in cells if cell.bound is not None), None)
    if cell is None:
        return []
    words, size = cell.parameters["alphabet"], cell.asked.size
    enough = math.log2(max(2.0, size * math.log2(max(2, words)) / 8))
    # No lower than a byte.
    start, end = max(0.0, min(float(low), enough - 6)), float(high)
    powers = [start + (end - start) * k / _NUM_BOUND_POINTS for k in range(_NUM_BOUND_POINTS + 1)]
    powers = sorted({*powers, *([enough] if start < enough < end else [])})
    points = tuple((2.0**p, recall_bound(8 * 2.0**p, size, words)) for p in powers)
    return [
        Curve(label="bound: no model recalls more from so many bits", kind="bound", points=points)
    ]


def paper_curve(curve: PaperCurve) -> Curve:
    """A range is drawn along its middle."""
    return Curve(
        label=curve.label,
        kind="paper",
        mark=mark_of(curve.families[0]),
        points=tuple(
            (float(size), (low + high) / 2)
            for size, (low, high) in zip(SIZES, curve.accuracies, strict=True)
        ),
    )
