"""The figures of a report, from its cells: accuracy against size, and against state."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.errors import InputError
from harness.reports.chart import Chart, Point, Series
from harness.reports.marks import Mark, marks_of
from harness.reports.paper import SIZES, beside
from harness.reports.references import (
    bound_curves,
    by_label,
    chance_curve,
    paper_curve,
    state_bound,
)
from harness.reports.units import bytes_text
from harness.runs.results import CellResult
from harness.tasks import make_task

# Powers of two between two names on the axis of bytes.
_TICK_STEPS: Final = (1, 2, 4, 8)
_MAX_STATE_TICKS: Final = 6

Cells = Sequence[CellResult]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart under its heading."""

    heading: str
    chart: Chart


def against_size(cells: Cells) -> list[Figure]:
    """One chart for each task and way."""
    marks = _marks(cells)
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for cell in _measured(cells):
        groups.setdefault((cell.asked.task_label, cell.way), []).append(cell)
    return [
        Figure(heading=f"{task}, {way}", chart=_size_chart(f"{task}, {way}", chosen, marks))
        for (task, way), chosen in groups.items()
    ]


def against_state(cells: Cells) -> list[Figure]:
    """One chart for each task and size; endpoints of unknown state are not in it."""
    marks = _marks(cells)
    groups: dict[tuple[str, int], list[CellResult]] = {}
    for cell in _measured(cells):
        if cell.state_bytes:
            groups.setdefault((cell.asked.task_label, cell.asked.size), []).append(cell)
    return [
        Figure(heading=f"{task}, size {size}", chart=_state_chart(f"{task} {size}", chosen, marks))
        for (task, size), chosen in sorted(groups.items(), key=lambda group: group[0])
    ]


def _marks(cells: Cells) -> dict[str, Mark]:
    return marks_of([(cell.label, cell.model.family) for cell in cells])


def _measured(cells: Cells) -> list[CellResult]:
    return [cell for cell in cells if cell.metrics.n]


def _size_chart(title: str, cells: list[CellResult], marks: dict[str, Mark]) -> Chart:
    first = cells[0].asked
    sizes = sorted({cell.asked.size for cell in cells})
    series = tuple(
        Series(
            label=label,
            mark=marks[label],
            points=tuple(
                _point(cell, x=cell.asked.size)
                for cell in sorted(chosen, key=lambda cell: cell.asked.size)
            ),
        )
        for label, chosen in by_label(cells).items()
    )
    models = {cell.model.family: cell.model.num_parameters for cell in cells}
    # The paper ran its tasks with one set of parameters, which are the defaults here.
    beside_it = [] if first.parameters else beside(first.task, first.prompting, models)
    paper = [paper_curve(curve) for curve in beside_it]
    if paper:
        sizes = sorted({*sizes, *SIZES})
    curves = [chance_curve(first, sizes), *bound_curves(cells), *paper]
    return Chart(
        title=f"{title}: accuracy against size",
        x_label=_size_unit(first.task),
        ticks=tuple((float(size), str(size)) for size in sizes),
        series=series,
        curves=tuple(curve for curve in curves if curve.points),
    )


def _state_chart(title: str, cells: list[CellResult], marks: dict[str, Mark]) -> Chart:
    series = tuple(
        Series(
            label=label,
            mark=marks[label],
            points=tuple(_point(cell, x=cell.state_bytes or 1) for cell in chosen),
            has_line=False,
        )
        for label, chosen in by_label(cells).items()
    )
    states = [point.x for one in series for point in one.points]
    low, high = math.floor(math.log2(min(states))), math.ceil(math.log2(max(states)))
    curves = [*state_bound(cells, low, high)]
    if curves:
        low = min(low, math.floor(math.log2(curves[0].points[0][0])))
    step = next(s for s in (*_TICK_STEPS, high - low) if (high - low) / s < _MAX_STATE_TICKS)
    return Chart(
        title=f"{title}: accuracy against state",
        x_label="state of a sequence at the end of its sample",
        ticks=tuple((2.0**p, _short_bytes(p)) for p in range(low, high + 1, step)),
        series=series,
        curves=tuple(curves),
    )


def _point(cell: CellResult, *, x: float) -> Point:
    metrics, asked = cell.metrics, cell.asked
    low, high = metrics.ci95
    title = (
        f"{cell.label}, {asked.task_label} size {asked.size}, {cell.way}: "
        f"{metrics.accuracy or 0:.3f} ({low:.3f}-{high:.3f}), {metrics.correct} of {metrics.n}"
    )
    if cell.state_bytes:
        title += f"; state {bytes_text(round(cell.state_bytes))}"
    if cell.bound is not None:
        title += f"; bound {cell.bound:.3f}"
    return Point(
        x=x,
        y=metrics.accuracy or 0.0,
        low=low,
        high=high,
        title=title,
        is_hollow=asked.retrieval is not None,
    )


def _size_unit(task: str) -> str:
    try:
        return f"size ({make_task(task).size_unit})"
    except InputError:
        return "size"


def _short_bytes(power: int) -> str:
    """2**11 is 2K."""
    units = ("B", "K", "M", "G", "T")
    if power < 0:
        return f"{2.0**power:g}B"
    return f"{2 ** (power % 10)}{units[min(power // 10, 4)]}"
