"""What measured accuracies are drawn beside: chance, the bound of the state, the paper."""

import math
from collections.abc import Sequence
from typing import Final

from harnessapi.values import Mode

from harness.reports.chart import Curve
from harness.reports.marks import mark_of
from harness.reports.paper import SIZES, PaperCurve, beside
from harness.runs.cell import Cell
from harness.runs.chance import chance_of
from harness.runs.results import CellResult
from harness.scoring.bound import recall_bound
from harness.way import Prompting, Way

_CHANCE: Final = "chance: the best simple guess, which finds nothing"
_NUM_BOUND_POINTS: Final = 48
Cells = Sequence[CellResult]


def chance_curve(asked: Cell, sizes: list[int]) -> Curve:
    """The best guess; a task that is not known here has none."""
    points = [
        (float(size), chance) for size in sizes if (chance := chance_of(asked, size)) is not None
    ]
    return Curve(label=_CHANCE, kind="chance", points=tuple(points))


def is_bounding(cells: Cells) -> bool:
    """Some state is too small for all that it would have to hold: its bound is under 1."""
    return any(cell.bound is not None and cell.bound < 1 for cell in cells)


def bound_curves(cells: Cells) -> list[Curve]:
    """Of the states that are all that is left of the context; the same bounds are one curve."""
    points: dict[str, set[tuple[float, float]]] = {}
    for cell in cells:
        if cell.bound is not None:
            points.setdefault(cell.label, set()).add((float(cell.asked.size), cell.bound))
    endpoints: dict[tuple[tuple[float, float], ...], list[str]] = {}
    for label, own in points.items():
        if any(bound < 1 for _, bound in own):
            endpoints.setdefault(tuple(sorted(own)), []).append(label)
    return [
        Curve(label=f"bound of the state of {', '.join(labels)}", kind="bound", points=own)
        for own, labels in endpoints.items()
    ]


def state_bound(cells: Cells, low: int, high: int) -> list[Curve]:
    """Recall against bits of state at this size, from where it begins to rise."""
    if not is_bounding(cells):
        return []
    words = next(words for cell in cells if (words := cell.num_words) is not None)
    return [bound_curve(cells[0].asked.size, words, low, high)]


def bytes_enough(size: int, words: int) -> float:
    """From so many bytes on the bound allows everything."""
    return size * math.log2(max(2, words)) / 8


def bound_curve(size: int, words: int, low: float, high: float) -> Curve:
    """Recall of `size` values of so many words against bytes of state, 2^low to 2^high or less."""
    enough = math.log2(max(2.0, bytes_enough(size, words)))
    # No lower than a byte.
    start, end = max(0.0, min(low, enough - 6)), high
    powers = [start + (end - start) * k / _NUM_BOUND_POINTS for k in range(_NUM_BOUND_POINTS + 1)]
    powers = sorted({*powers, *([enough] if start < enough < end else [])})
    points = tuple((2.0**p, recall_bound(8 * 2.0**p, size, words)) for p in powers)
    return Curve(
        label="bound: no model recalls more from so many bits", kind="bound", points=points
    )


def paper_curves(cells: Cells) -> list[Curve]:
    """The paper's figures of the promptings and families of these cells, of one task."""
    task, found = cells[0].asked.task, []
    # The paper ran its tasks with one set of parameters, which are the defaults here, and evenly.
    if not cells[0].asked.parameters.keys() - {"balanced"}:
        for prompting in dict.fromkeys(cell.asked.prompting for cell in cells):
            models = {
                cell.model.family: cell.model.num_parameters
                for cell in cells
                if cell.asked.prompting is prompting and not cell.asked.way.arms
            }
            found += [_paper_curve(curve) for curve in beside(task, prompting, models)]
    return found


def _paper_curve(curve: PaperCurve) -> Curve:
    """A range is drawn along its middle."""
    retrieval = Mode.REGEX if curve.prompting is Prompting.SEARCH else None
    return Curve(
        label=curve.label,
        kind="paper",
        mark=mark_of(curve.families[0], Way(prompting=curve.prompting, retrieval=retrieval)),
        points=tuple(
            (float(size), (low + high) / 2)
            for size, (low, high) in zip(SIZES, curve.accuracies, strict=True)
        ),
    )
