"""The results of a run as a table for a terminal."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from harness.run_store.summary import CellResult

# Wide enough for every column, where the output is a file or a pipe.
_WIDTH_WITHOUT_TERMINAL: Final = 200

Columns = dict[str, Callable[[CellResult], str]]

_LABELS: Final[Columns] = {
    "endpoint": lambda row: row.cell.endpoint,
    "family": lambda row: row.family,
    "task": lambda row: row.cell.task,
    "prompting": lambda row: row.cell.prompting.value,
    "retrieval": lambda row: row.cell.retrieval.value if row.cell.retrieval else "-",
}
_FIGURES: Final[Columns] = {
    "size": lambda row: str(row.cell.size),
    "n": lambda row: str(row.metrics.n),
    "accu-\nracy": lambda row: _number(row.metrics.accuracy, 3),
    "95%\ninterval": lambda row: "{:.3f}-{:.3f}".format(*row.metrics.ci95),
    "no\nanswer": lambda row: str(row.metrics.no_answer),
    "trun-\ncated": lambda row: str(row.metrics.truncated),
    "err-\nored": lambda row: str(row.metrics.errored),
    "tokens\n/s": lambda row: _number(row.metrics.tokens_per_s, 0),
    "TTFT\np50 ms": lambda row: _number(row.metrics.ttft_ms_p50, 0),
    "searches\n/sample": lambda row: _number(row.metrics.searches_per_sample, 2),
}


def print_results(results: Sequence[CellResult]) -> None:
    """Prints to standard output: one table, or in a narrow terminal one for each kind of cell."""
    wide = Console(width=_WIDTH_WITHOUT_TERMINAL)
    console = Console() if wide.is_terminal else wide
    table = _table(results, _LABELS | _FIGURES)
    if wide.measure(table).maximum <= console.width:
        console.print(table)
        return
    for labels, rows in groupby(results, key=_labels):
        console.print(f"\n{', '.join(labels)}", highlight=False, markup=False)
        console.print(_table(list(rows), _FIGURES))


def _labels(row: CellResult) -> tuple[str, ...]:
    return tuple(text(row) for text in _LABELS.values() if text(row) != "-")


def _table(rows: Sequence[CellResult], columns: Columns) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in columns:
        table.add_column(name, justify="left" if name in _LABELS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(text(row) for text in columns.values()))
    return table


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
