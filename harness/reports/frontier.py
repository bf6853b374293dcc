"""What the frontier shows: how much each model recalls, for how many bytes of state."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import pstdev
from typing import Any, Final

from harness.errors import InputError, unknown_name
from harness.reports.chart import Curve
from harness.reports.pooling import without_repetitions
from harness.reports.references import bound_curve, bytes_enough
from harness.reports.trained_models import Spread, TrainedModel, spread, trained_models
from harness.runs.results import CellResult
from harness.tasks import TASKS
from harness.way import Style

# The rise of the bound is shown from so many powers of two below what is enough for everything.
_RISE: Final = 4.0
Cells = Sequence[CellResult]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """Where a model stands: mean bytes at the end of its samples, and accuracy over trainings."""

    state_bytes: float
    accuracy: Spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A model without a search, and the same weights with one; one of the two may be missing."""

    model: TrainedModel
    closed: Spot | None
    opened: Spot | None

    @property
    def spots(self) -> tuple[Spot, ...]:
        """Those that there are."""
        return tuple(spot for spot in (self.closed, self.opened) if spot is not None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One task at one size: `closed` and `opened` are the ways without and with a search."""

    task: str
    size: int
    style: Style
    closed: str
    opened: str
    standings: tuple[Standing, ...]
    # Models that do not tell their state: they are not drawn.
    unknown: tuple[str, ...]
    # Models that were asked in other ways alone: neither are they.
    otherwise: tuple[str, ...]
    # Of each cell, where all have as many.
    num_samples: int | None
    chance: float | None
    bound: Curve | None
    # The bytes from which on the bound allows everything; None without a bound.
    enough: float | None

    @property
    def name(self) -> str:
        """`assoc_recall:16`, of plain language `assoc_recall:16:natural`."""
        style = "" if self.style is Style.SYMBOLIC else f":{self.style}"
        return f"{self.task}:{self.size}{style}"

    @property
    def title(self) -> str:
        """`assoc_recall, 16 key-value pairs`."""
        task = self.task.partition(" ")[0]
        unit = TASKS[task].size_unit if task in TASKS else ""
        style = "" if self.style is Style.SYMBOLIC else f", {self.style}"
        return f"{self.task}, {self.size} {unit}".rstrip() + style

    @property
    def contrast(self) -> float:
        """How far the models are apart without a search: the standard deviation."""
        means = [one.closed.accuracy.mean for one in self.standings if one.closed]
        return pstdev(means) if means else 0.0


def panels(cells: Iterable[CellResult]) -> list[Panel]:
    """By task and size; none where no model tells its state. Arms of experiments are left out."""
    cells = without_repetitions(cells)
    groups: dict[tuple[str, int, Style], list[tuple[TrainedModel, CellResult]]] = {}
    for model in trained_models(cells):
        for cell in model.cells:
            if cell.metrics.n and not cell.asked.way.arms:
                key = (cell.asked.task_label, cell.asked.size, cell.asked.style)
                groups.setdefault(key, []).append((model, cell))
    made = (_panel(*key, asked) for key, asked in sorted(groups.items()))
    return [panel for panel in made if panel.standings]


def choose(found: Sequence[Panel], name: str | None) -> Panel:
    """That of this name; else of those with most models the one where they are furthest apart.

    Tasks of recall, which have a bound, come before others of as many models. Raises
    InputError where there is none.
    """
    if not found:
        raise InputError(
            "there is no frontier to draw: no model of these runs tells its state and has samples"
        )
    if name is None:
        return max(found, key=lambda p: (len(p.standings), p.bound is not None, p.contrast))
    named = {panel.name: panel for panel in found}
    if name not in named:
        raise unknown_name("panel", name, named)
    return named[name]


def _panel(
    task: str, size: int, style: Style, asked: Sequence[tuple[TrainedModel, CellResult]]
) -> Panel:
    closed = _usual_way(cell for _, cell in asked if cell.asked.retrieval is None)
    opened = _usual_way(cell for _, cell in asked if cell.asked.retrieval is not None)
    by_model: dict[str, tuple[TrainedModel, list[CellResult]]] = {}
    for model, cell in asked:
        if cell.way in {closed, opened}:
            by_model.setdefault(model.name, (model, []))[1].append(cell)
    standings = [
        Standing(model=model, closed=_spot(own, closed), opened=_spot(own, opened))
        for model, own in by_model.values()
    ]
    drawn = tuple(one for one in standings if one.spots)
    cells = [cell for _, own in by_model.values() for cell in own]
    samples = {cell.metrics.n for cell in cells}
    words = next((cell.num_words for cell in cells if cell.num_words is not None), None)
    states = [spot.state_bytes for one in drawn for spot in one.spots]
    bound = enough = None
    if words is not None and states:
        enough = bytes_enough(size, words)
        low = math.log2(min(enough, *states)) - _RISE
        bound = bound_curve(size, words, low, math.log2(max(enough, *states)) + 1)
    return Panel(
        task=task,
        size=size,
        style=style,
        closed=closed,
        opened=opened,
        standings=drawn,
        unknown=tuple(one.model.name for one in standings if not one.spots),
        otherwise=tuple(dict.fromkeys(m.name for m, _ in asked if m.name not in by_model)),
        num_samples=next(iter(samples)) if len(samples) == 1 else None,
        chance=cells[0].chance,
        bound=bound,
        enough=enough,
    )


def _usual_way(cells: Iterable[CellResult]) -> str:
    """In which most were asked; of as many the first by name. Empty where none was."""
    counts = Counter(cell.way for cell in cells)
    # Direct answers are what is compared: a chain stands for them where nothing was asked directly.
    order: dict[str, Any] = {way: (-counts[way], way != "direct", way) for way in counts}
    return min(order, key=order.__getitem__, default="")


def _spot(cells: Cells, way: str) -> Spot | None:
    """None where it was not asked so, or does not tell its state."""
    own = [cell for cell in cells if cell.way == way]
    states = [cell.state_bytes for cell in own if cell.state_bytes]
    accuracy = spread(own)
    if not states or accuracy is None:
        return None
    return Spot(state_bytes=sum(states) / len(states), accuracy=accuracy)
