"""Accuracy by where in its context the answer stood: in which fifth, counted from the beginning.

The sample is drawn again from its address, which says all of it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from harness.errors import InputError
from harness.reports.collect import Visitor
from harness.runs.manifest import Manifest
from harness.runs.records import SampleRecord
from harness.runs.results import CellResult
from harness.sample import Address
from harness.scoring.intervals import wilson_interval
from harness.tasks import TASKS, build_task

_EDGES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Cells of several endpoints ask the same samples.
_KEPT: Final = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """The samples of a cell for which something that is asked stands in this part of the context.

    One that asks for several things is in each of their parts, and right only as a whole.
    """

    start: float
    end: float
    n: int
    correct: int
    accuracy: float | None
    ci95: tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Positions:
    """A cell and its stretches, from the first to the last."""

    cell: CellResult
    stretches: Sequence[Stretch]


class ByPosition:
    """Counts the samples of all cells while the runs are read."""

    def __init__(self) -> None:
        # By run and cell: of each stretch the number of samples, and of those that are right.
        self._found: dict[tuple[str, str], list[list[int]]] = {}

    def visitor(self, manifest: Manifest) -> Visitor:
        """Takes the samples of one run."""

        def visit(record: SampleRecord) -> None:
            for stretch in _stretches(record.address):
                key = (manifest.run, record.cell)
                counts = self._found.setdefault(key, [[0, 0] for _ in _EDGES[1:]])[stretch]
                counts[0] += 1
                counts[1] += record.is_correct

        return visit

    def of(self, cell: CellResult) -> Positions | None:
        """None where the answer stands at no one place, or the task is not known here."""
        found = self._found.get((cell.run, cell.asked.key))
        if found is None:
            return None
        stretches = [
            _stretch(start, end, n, correct, cell.metrics.repeats)
            for (start, end), (n, correct) in zip(pairwise(_EDGES), found, strict=True)
        ]
        return Positions(cell=cell, stretches=stretches)

    def rows(self, cells: Sequence[CellResult]) -> list[Positions]:
        """Of the cells that have any."""
        return [found for cell in cells if (found := self.of(cell)) is not None]

    def as_json(self, cell: CellResult) -> list[dict[str, Any]] | None:
        """The keys are a contract, as those of a cell."""
        found = self.of(cell)
        return None if found is None else [asdict(one) for one in found.stretches]


def _stretch(start: float, end: float, n: int, correct: int, repeats: int) -> Stretch:
    """The interval is that of so many samples: repeats of one are like each other."""
    num_samples = -(-n // repeats)
    share = correct / n if n else 0.0
    return Stretch(
        start=start,
        end=end,
        n=n,
        correct=correct,
        accuracy=share if n else None,
        ci95=wilson_interval(share * num_samples, num_samples),
    )


@lru_cache(maxsize=_KEPT)
def _stretches(address: str) -> frozenset[int]:
    """Where something that is asked stands, by number; none of a task that is not known here.

    Other people's code no report runs.
    """
    one = Address.from_key(address)
    if one.task not in TASKS:
        return frozenset()
    try:
        task = build_task(TASKS[one.task], **dict(one.parameters))
        depths = task.sample(one.split, one.seed, one.index).depths
    except InputError:
        return frozenset()  # of another version
    num_stretches = len(_EDGES) - 1
    return frozenset(min(int(depth * num_stretches), num_stretches - 1) for depth in depths)
