"""Family x task x way: what the cells of a report come to together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.runs.results import CellResult
from harness.scoring.intervals import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Counts added up over endpoints and sizes, which it names: accuracy depends on both."""

    task: str
    way: str
    family: str
    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    n: int
    correct: int
    no_answer: int
    truncated: int
    errored: int
    filtered: int
    # What `n` would be, were each sample asked once.
    num_samples: int
    # None where one of them has none.
    lenient: int | None = None

    @property
    def accuracy(self) -> float | None:
        """None of no samples."""
        return self.correct / self.n if self.n else None

    @property
    def lenient_accuracy(self) -> float | None:
        """None of no samples, and where there is no lenient verdict."""
        return None if self.lenient is None or not self.n else self.lenient / self.n

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's, of so many samples: repeats of one are like each other."""
        share = self.correct / self.n if self.n else 0.0
        return wilson_interval(share * self.num_samples, self.num_samples)


def pool(cells: Sequence[CellResult]) -> list[Pool]:
    """By task, way and family; the same samples of the same model count once, the last run's."""
    groups: dict[tuple[str, str, str], list[CellResult]] = {}
    for cell in without_repetitions(cells):
        key = (cell.asked.task_label, cell.way, cell.model.family)
        groups.setdefault(key, []).append(cell)
    return [_pool(key, members) for key, members in groups.items()]


def without_repetitions(cells: Iterable[CellResult]) -> list[CellResult]:
    """Of cells that ask the same model the same samples, the one read last."""
    last = {(cell.asked.key, cell.weights, cell.seed): cell for cell in cells}
    return list(last.values())


def _pool(key: tuple[str, str, str], cells: list[CellResult]) -> Pool:
    task, way, family = key
    lenient = [cell.metrics.lenient_correct for cell in cells]
    return Pool(
        task=task,
        way=way,
        family=family,
        labels=tuple(dict.fromkeys(cell.label for cell in cells)),
        sizes=tuple(sorted({cell.asked.size for cell in cells})),
        n=sum(cell.metrics.n for cell in cells),
        correct=sum(cell.metrics.correct for cell in cells),
        no_answer=sum(cell.metrics.no_answer for cell in cells),
        truncated=sum(cell.metrics.truncated for cell in cells),
        num_samples=sum(-(-cell.metrics.n // cell.metrics.repeats) for cell in cells),
        filtered=sum(cell.metrics.filtered for cell in cells),
        errored=sum(cell.metrics.errored for cell in cells),
        lenient=None if None in lenient else sum(filter(None, lenient)),
    )
