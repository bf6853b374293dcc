"""The columns of a report's tables, the same in a terminal and on a page."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from harness.reports.pooling import Pool
from harness.reports.positions import Positions
from harness.reports.units import bytes_text, count_text
from harness.runs.results import CellResult

NOTHING: Final = "-"
UNTRAINED: Final = "†"
_LENIENT: Final = "lenient"
_LIES: Final = "lies"
_BALANCED: Final = "balanced"
_COST: Final = "cost"
_STOPPED: Final = "stopped by"
# Columns that are shown where a row says something in them.
_OPTIONAL: Final = frozenset({_LENIENT, _LIES, _BALANCED, _COST, _STOPPED})
Texts = Mapping[str, Callable[[CellResult], str]]
Row = TypeVar("Row")


def number(value: float | None, digits: int) -> str:
    """`1,234.5`; a dash for None."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def interval(bounds: tuple[float, float]) -> str:
    """`0.972-0.999`."""
    return "{:.3f}-{:.3f}".format(*bounds)


def state(cell: CellResult) -> str:
    """At the end of a sample; a dash where unknown."""
    return bytes_text(round(cell.state_bytes)) if cell.state_bytes else NOTHING


def accuracy(cell: CellResult) -> str:
    """With a mark where the model was not trained on the task."""
    return number(cell.metrics.accuracy, 3) + (UNTRAINED if cell.is_untrained else "")


def trained_on(cell: CellResult) -> str:
    """About how many contexts: `1.2M`; a dash where it is not known."""
    return NOTHING if cell.trained_on is None else count_text(cell.trained_on)


_ASKED: Final[Texts] = {
    "run": lambda cell: str(cell.number),
    "task": lambda cell: cell.asked.task_label,
    "way": lambda cell: cell.way,
    "size": lambda cell: str(cell.asked.size),
}
_ENDPOINT: Final[Texts] = {
    "endpoint": lambda cell: cell.asked.endpoint,
    "family": lambda cell: cell.model.family,
}
_ACCURACY: Final[Texts] = {
    "accuracy": accuracy,
    "95% interval": lambda cell: interval(cell.metrics.ci95),
    _LENIENT: lambda cell: number(cell.metrics.lenient_accuracy, 3),
    _LIES: lambda cell: number(cell.metrics.lie_rate, 3),
}
# What an accuracy is held against, and what it is where targets count alike.
_BESIDE: Final[Texts] = {
    _BALANCED: lambda cell: number(cell.metrics.balanced_accuracy, 3),
    "majority": lambda cell: number(cell.metrics.majority_rate, 3),
    "chance": lambda cell: number(cell.chance, 3),
}
STATE: Final[Texts] = {
    **_ASKED,
    "state": state,
    **_ENDPOINT,
    "parameters": lambda cell: (
        count_text(cell.model.num_parameters) if cell.model.num_parameters else NOTHING
    ),
    "trained on": trained_on,
    **_ACCURACY,
    **_BESIDE,
    "bound": lambda cell: number(cell.bound, 3),
    "bits shown": lambda cell: number(cell.bits_shown, 0),
}
COSTS: Final[Texts] = {
    **_ASKED,
    **_ENDPOINT,
    "n": lambda cell: str(cell.metrics.n),
    "no answer": lambda cell: str(cell.metrics.no_answer),
    "truncated": lambda cell: str(cell.metrics.truncated),
    "filtered": lambda cell: str(cell.metrics.filtered),
    "errored": lambda cell: str(cell.metrics.errored),
    "searches": lambda cell: number(cell.metrics.searches_per_sample, 2),
    "inserted": lambda cell: number(cell.metrics.inserted_tokens_per_sample, 1),
    "generated": lambda cell: number(cell.metrics.generated_tokens_per_sample, 1),
    "TTFT p50 ms": lambda cell: number(cell.metrics.ttft_ms_p50, 0),
    "tokens/s": lambda cell: number(cell.metrics.tokens_per_s, 0),
    _COST: lambda cell: number(cell.metrics.cost, 4),
    _STOPPED: lambda cell: cell.metrics.stopped_by or NOTHING,
}
# Of cells of which something of it is stored.
WAITS: Final[Texts] = {
    **_ASKED,
    **_ENDPOINT,
    "TTFT p50": lambda cell: number(cell.metrics.ttft_ms_p50, 0),
    "TTFT p90": lambda cell: number(cell.metrics.ttft_ms_p90, 0),
    "TTFT p99": lambda cell: number(cell.metrics.ttft_ms_p99, 0),
    "token p50": lambda cell: number(cell.metrics.token_interval_ms_p50, 1),
    "token p90": lambda cell: number(cell.metrics.token_interval_ms_p90, 1),
    "token p99": lambda cell: number(cell.metrics.token_interval_ms_p99, 1),
}
# Of cells whose samples were asked several times.
REPEATS: Final[Texts] = {
    **_ASKED,
    **_ENDPOINT,
    "asked each": lambda cell: str(cell.metrics.repeats),
    **_ACCURACY,
    "pass@k": lambda cell: number(cell.metrics.pass_at_k, 3),
    "agreement": lambda cell: number(cell.metrics.agreement, 3),
}
POOLS: Final[Mapping[str, Callable[[Pool], str]]] = {
    "task": lambda pool: pool.task,
    "way": lambda pool: pool.way,
    "family": lambda pool: pool.family,
    "endpoints": lambda pool: ", ".join(pool.labels),
    "sizes": lambda pool: ", ".join(map(str, pool.sizes)),
    "accuracy": lambda pool: number(pool.accuracy, 3),
    "95% interval": lambda pool: interval(pool.ci95),
    _LENIENT: lambda pool: number(pool.lenient_accuracy, 3),
    "n": lambda pool: str(pool.n),
    "no answer": lambda pool: str(pool.no_answer),
    "truncated": lambda pool: str(pool.truncated),
    "filtered": lambda pool: str(pool.filtered),
    "errored": lambda pool: str(pool.errored),
}
_FIFTHS: Final = ("first fifth", "second", "middle", "fourth", "last fifth")


def _by_fifth(number_of: int) -> Callable[[Positions], str]:
    def text(row: Positions) -> str:
        found = row.stretches[number_of]
        if not found.n:
            return NOTHING
        return f"{number(found.accuracy, 3)}\n{interval(found.ci95)}\nn {found.n}"

    return text


def _of_cell(text: Callable[[CellResult], str]) -> Callable[[Positions], str]:
    return lambda row: text(row.cell)


# By where in its context the answer stood.
POSITIONS: Final[Mapping[str, Callable[[Positions], str]]] = {
    **{name: _of_cell(text) for name, text in {**_ASKED, **_ENDPOINT}.items() if name != "family"},
    **{name: _by_fifth(place) for place, name in enumerate(_FIFTHS)},
}
LEFT: Final = frozenset(
    {
        "task",
        "way",
        "family",
        "endpoint",
        "endpoints",
        "sizes",
        "model",
        "checkpoint",
        "id",
        "began",
    }
)


def told(
    columns: Mapping[str, Callable[[Row], str]], rows: Iterable[Row]
) -> Mapping[str, Callable[[Row], str]]:
    """Without the optional ones that no row says anything in."""
    rows = list(rows)
    return {
        name: text
        for name, text in columns.items()
        if name not in _OPTIONAL or any(text(row) != NOTHING for row in rows)
    }


def by_state(cell: CellResult) -> tuple[str, str, int, float]:
    """Sorts cells by task, way and size, then by state."""
    asked = cell.asked
    return asked.task_label, cell.way, asked.size, cell.state_bytes or 0.0
