"""The figures of a report, from its cells: accuracy against size, and against state."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from harness.reports.chart import Chart, Point, Series, draw, legend
from harness.reports.marks import Mark, SeriesKey, marks_of, series_key
from harness.reports.paper import SIZES
from harness.reports.references import bound_curves, chance_curve, paper_curves, state_bound
from harness.reports.units import bytes_text, short_bytes
from harness.runs.results import CellResult
from harness.tasks import TASKS

# Powers of two between two names on the axis of bytes.
_TICK_STEPS: Final = (1, 2, 4, 8)
_MAX_STATE_TICKS: Final = 6

Cells = Sequence[CellResult]
Marks = Mapping[SeriesKey, Mark]
Drawn = tuple[Series, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A chart under its heading."""

    heading: str
    chart: Chart

    @property
    def drawing(self) -> Markup:
        """As SVG, without its legend."""
        return draw(self.chart)

    @property
    def legend(self) -> list[tuple[Markup, str]]:
        """(swatch, name) of all that is drawn."""
        return legend(self.chart)


def against_size(cells: Cells) -> list[Figure]:
    """One chart for each task: with and without a search in the same one."""
    marks = marks_of(cells)
    groups: dict[str, list[CellResult]] = {}
    for cell in _measured(cells):
        groups.setdefault(cell.asked.task_label, []).append(cell)
    return [
        Figure(heading=task, chart=_size_chart(task, chosen, marks))
        for task, chosen in groups.items()
    ]


def against_state(cells: Cells) -> list[Figure]:
    """One chart for each task and size; endpoints of unknown state are not in it."""
    marks = marks_of(cells)
    groups: dict[tuple[str, int], list[CellResult]] = {}
    for cell in _measured(cells):
        if cell.state_bytes:
            groups.setdefault((cell.asked.task_label, cell.asked.size), []).append(cell)
    return [
        Figure(heading=f"{task}, size {size}", chart=_state_chart(f"{task} {size}", chosen, marks))
        for (task, size), chosen in sorted(groups.items(), key=lambda group: group[0])
    ]


def _measured(cells: Cells) -> list[CellResult]:
    return [cell for cell in cells if cell.metrics.n]


def _series(cells: Cells, marks: Marks, x: Callable[[CellResult], float], **fields: bool) -> Drawn:
    """A series each endpoint and way, its points from left to right."""
    chosen: dict[SeriesKey, list[CellResult]] = {}
    for cell in sorted(cells, key=x):
        chosen.setdefault(series_key(cell), []).append(cell)
    return tuple(
        Series(
            label=", ".join(key),
            mark=mark,
            points=tuple(_point(cell, x(cell)) for cell in chosen[key]),
            **fields,
        )
        for key, mark in marks.items()
        if key in chosen
    )


def _size_chart(title: str, cells: list[CellResult], marks: Marks) -> Chart:
    first = cells[0].asked
    sizes = sorted({cell.asked.size for cell in cells})
    paper = paper_curves(cells)
    if paper:
        sizes = sorted({*sizes, *SIZES})
    curves = [chance_curve(first, sizes), *bound_curves(cells), *paper]
    return Chart(
        title=f"{title}: accuracy against size",
        x_label=_size_unit(first.task),
        ticks=tuple((float(size), str(size)) for size in sizes),
        series=_series(cells, marks, lambda cell: cell.asked.size),
        curves=tuple(curve for curve in curves if curve.points),
    )


def _state_chart(title: str, cells: list[CellResult], marks: Marks) -> Chart:
    series = _series(cells, marks, lambda cell: cell.state_bytes or 1, has_line=False)
    states = [point.x for one in series for point in one.points]
    low, high = math.floor(math.log2(min(states))), math.ceil(math.log2(max(states)))
    curves = [*state_bound(cells, low, high)]
    if curves:
        low = min(low, math.floor(math.log2(curves[0].points[0][0])))
    step = next(s for s in (*_TICK_STEPS, high - low) if (high - low) / s < _MAX_STATE_TICKS)
    return Chart(
        title=f"{title}: accuracy against state",
        x_label="state of a sequence at the end of its sample",
        ticks=tuple((2.0**p, short_bytes(p)) for p in range(low, high + 1, step)),
        series=series,
        curves=tuple(curves),
    )


def _point(cell: CellResult, x: float) -> Point:
    metrics, asked = cell.metrics, cell.asked
    low, high = metrics.ci95
    title = (
        f"{cell.label}, {asked.task_label} size {asked.size}, {cell.way}: "
        f"{metrics.accuracy or 0:.3f} ({low:.3f}-{high:.3f}), {metrics.correct} of {metrics.n}"
    )
    if cell.is_untrained:
        title += "; not trained on it"
    if cell.state_bytes:
        title += f"; state {bytes_text(round(cell.state_bytes))}"
    if cell.bound is not None and cell.bound < 1:
        title += f"; bound {cell.bound:.3f}"
    elif cell.bits_shown is not None:
        title += f"; bits shown {cell.bits_shown:.0f}"
    return Point(x=x, y=metrics.accuracy or 0.0, low=low, high=high, title=title)


def _size_unit(task: str) -> str:
    return f"size ({TASKS[task].size_unit})" if task in TASKS else "size"
