"""The sentence at the top of a report: the largest difference that it shows, or nothing."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from harness.reports.pooling import without_repetitions
from harness.runs.results import CellResult
from harness.tasks import TASKS

Cells = Sequence[CellResult]
Pair = tuple[CellResult, CellResult]


def finding(cells: Cells) -> str:
    """What a search does for the same weights; without such a pair, the best and worst endpoint.

    Both were asked the same samples, and neither in an arm of an experiment. Empty where there is
    no pair, or none that differs.
    """
    questions: dict[tuple[str, int, int], list[CellResult]] = {}
    for cell in without_repetitions(cells):
        if cell.metrics.n and not cell.asked.way.arms:
            key = (cell.asked.task_label, cell.asked.size, cell.seed)
            questions.setdefault(key, []).append(cell)
    by_search = _largest(pair for asked in questions.values() for pair in _with_search(asked))
    if by_search is not None:
        return _told(*by_search, "the same weights with search")
    by_endpoint = _largest(pair for asked in questions.values() for pair in _endpoints(asked))
    if by_endpoint is not None:
        worst, best = sorted(by_endpoint, key=_accuracy)
        return _told(worst, best, f"{best.label}, {best.way},")
    return ""


def _with_search(cells: Cells) -> Iterable[Pair]:
    """Of each checkpoint its best cell without a search, and its best with one."""
    known = [cell for cell in cells if cell.model.checkpoint_digest]
    for weights in dict.fromkeys(cell.weights for cell in known):
        own = [cell for cell in known if cell.weights == weights]
        closed = [cell for cell in own if cell.asked.retrieval is None]
        opened = [cell for cell in own if cell.asked.retrieval is not None]
        if closed and opened:
            yield max(closed, key=_accuracy), max(opened, key=_accuracy)


def _endpoints(cells: Cells) -> Iterable[Pair]:
    """Two endpoints that were asked in the same way."""
    return (
        (one, other)
        for one, other in combinations(cells, 2)
        if one.way == other.way and one.label != other.label
    )


def _largest(pairs: Iterable[Pair]) -> Pair | None:
    """Where intervals are apart before where they overlap."""
    differing = [pair for pair in pairs if _difference(pair)]
    return max(differing, key=lambda pair: (not _overlap(*pair), _difference(pair)), default=None)


def _difference(pair: Pair) -> float:
    return abs(_accuracy(pair[0]) - _accuracy(pair[1]))


def _overlap(one: CellResult, other: CellResult) -> bool:
    (low, high), (other_low, other_high) = one.metrics.ci95, other.metrics.ci95
    return low <= other_high and other_low <= high


def _accuracy(cell: CellResult) -> float:
    return cell.metrics.accuracy or 0.0


def _told(one: CellResult, other: CellResult, whose: str) -> str:
    """`assoc_recall at 64 key-value pairs: rnn 0.010, the same weights with search 1.000 (...)`."""
    n, other_n = one.metrics.n, other.metrics.n
    counted = f"n = {n} each" if n == other_n else f"n = {n} and {other_n}"
    if _overlap(one, other):
        counted += "; the 95% intervals overlap, so it may be chance"
    asked = one.asked
    return (
        f"{asked.task_label} at {asked.size}{_unit(asked.task)}: {one.label}, {one.way}, "
        f"{_accuracy(one):.3f}; {whose} {_accuracy(other):.3f} ({counted})."
    )


def _unit(task: str) -> str:
    return f" {TASKS[task].size_unit}" if task in TASKS else ""
