"""The results of a run as a table for a terminal.

What is the same in every row is said once above the table; what holds for an endpoint stands
beside its name, and not again in its further rows.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Final

from rich.console import Console

from harness.reports.notes import budget_notes, guess_figures, search_notes, untrained_notes
from harness.reports.rows import NOTHING, accuracy, interval, number, trained_on
from harness.reports.text_table import (
    TextTable,
    open_console,
    plain,
    print_line,
    print_listed,
    print_table,
)
from harness.reports.units import count_text, state_text
from harness.runs.results import CellResult

Rows = Sequence[CellResult]
Columns = Mapping[str, Callable[[CellResult], str]]

_NAME: Final = "endpoint"
_MODEL: Final[Columns] = {
    _NAME: lambda row: row.asked.endpoint,
    "family": lambda row: row.model.family,
    "para-\nmeters": lambda row: _told(row, count_text(row.model.num_parameters)),
    "state a\nsequence": lambda row: _told(
        row, state_text(row.model.state_bytes, row.model.state_bytes_per_token)
    ),
}
_ASKED: Final[Columns] = {
    "task": lambda row: row.asked.task_label,
    "prompting": lambda row: row.asked.prompting.value,
    "retrieval": lambda row: row.asked.retrieval.value if row.asked.retrieval else NOTHING,
    "arm": lambda row: " ".join(row.asked.way.arms) or NOTHING,
}
_FIGURES: Final[Columns] = {
    "size": lambda row: str(row.asked.size),
    "accu-\nracy": accuracy,
    "95%\ninterval": lambda row: interval(row.metrics.ci95),
    "tokens\n/s": lambda row: number(row.metrics.tokens_per_s, 0),
    "TTFT\np50 ms": lambda row: number(row.metrics.ttft_ms_p50, 0),
}
_REPEATS: Final[Columns] = {
    "asked\neach": lambda row: str(row.metrics.repeats) if row.metrics.repeats > 1 else NOTHING,
    "pass\n@k": lambda row: number(row.metrics.pass_at_k, 3),
    "agree-\nment": lambda row: number(row.metrics.agreement, 3),
}
_COUNTS: Final[Columns] = {
    **_REPEATS,
    "bal-\nanced": lambda row: number(row.metrics.balanced_accuracy, 3),
    "n": lambda row: str(row.metrics.n),
    "no\nanswer": lambda row: str(row.metrics.no_answer),
    "trun-\ncated": lambda row: str(row.metrics.truncated),
    "leni-\nent": lambda row: number(row.metrics.lenient_accuracy, 3),
    "lies": lambda row: number(row.metrics.lie_rate, 3),
    "fil-\ntered": lambda row: str(row.metrics.filtered or NOTHING),
    "err-\nored": lambda row: str(row.metrics.errored),
    "sear-\nches": lambda row: number(row.metrics.searches_per_sample, 2),
    "cost": lambda row: number(row.metrics.cost, 4),
    "stopped\nby": lambda row: row.metrics.stopped_by or NOTHING,
    "trained\non": trained_on,
}
_ALL: Final[Columns] = {**_MODEL, **_ASKED, **_FIGURES, **_COUNTS}
_LEFT: Final = {_NAME, "family", *_ASKED}


def print_results(results: Rows, console: Console | None = None) -> None:
    """Prints to standard output: one table, or in a narrow terminal one for each endpoint."""
    console = console or open_console()
    _print_tables(console, results)
    for figures in guess_figures(results):
        print_listed(console, figures)
    notes = (untrained_notes, budget_notes, search_notes)
    for line in (line for told in notes for line in told(results)):
        print_line(console, line)


def _print_tables(console: Console, results: Rows) -> None:
    said = _common(results, {**_ASKED, **_COUNTS})
    _say(console, said)
    table = _table(results, _columns(results, said))
    if table.fits(console.width):
        print_table(console, table)
        return
    for rows in _by_endpoint(results):
        own = _common(rows, {**_MODEL, **_ASKED, **_COUNTS})
        console.print()
        _say(console, {name: text for name, text in own.items() if name not in said})
        print_table(console, _table(rows, _columns(rows, own)))


def _by_endpoint(results: Rows) -> list[list[CellResult]]:
    return [list(rows) for _, rows in groupby(results, key=_MODEL[_NAME])]


def _common(rows: Rows, columns: Columns) -> dict[str, str]:
    """The columns in which all rows say the same, and what they say."""
    found = {name: {text(row) for row in rows} for name, text in columns.items()}
    return {name: texts.pop() for name, texts in found.items() if len(texts) == 1}


def _columns(results: Rows, said: Mapping[str, str]) -> Columns:
    """What is not said yet. How an endpoint is asked goes below its name where its rows agree."""
    shown = {name: text for name, text in _ALL.items() if name not in said}
    if _NAME not in shown:
        return shown
    asked = {name: text for name, text in _ASKED.items() if name in shown}
    for rows in _by_endpoint(results):
        asked = {name: asked[name] for name in _common(rows, asked)}
    return {name: text for name, text in shown.items() if name not in asked} | {
        _NAME: lambda row: "\n".join([row.asked.endpoint, *_words(row, asked)])
    }


def _words(row: CellResult, columns: Columns) -> list[str]:
    """One line of what the columns say of a row, or none."""
    words = [text(row) for text in columns.values()]
    line = " ".join(word for word in words if word != NOTHING)
    return [line] if line else []


def _say(console: Console, texts: Mapping[str, str]) -> None:
    """`task assoc_recall, n 200, no answer 0`: the headings of columns in one line."""
    told = {plain(name): plain(text) for name, text in texts.items() if text != NOTHING}
    print_listed(console, (f"{name} {text}" for name, text in told.items()))


def _table(results: Rows, columns: Columns) -> TextTable:
    texts: list[list[str]] = []
    ends: list[int] = []
    for rows in _by_endpoint(results):
        for place, row in enumerate(rows, start=1):
            is_last = place == len(rows)
            texts.append(
                [
                    _part(text(row), place, is_last=is_last) if name in _MODEL else text(row)
                    for name, text in columns.items()
                ]
            )
        ends.append(len(texts))
    return TextTable(headings=list(columns), rows=texts, left=_LEFT, ends=ends)


def _part(text: str, place: int, *, is_last: bool) -> str:
    """Of a text about an endpoint: the n-th line in its n-th row, the rest in the last row."""
    lines = text.split("\n")
    return "\n".join(lines[place - 1 :] if is_last else lines[place - 1 : place])


def _told(row: CellResult, text: str) -> str:
    """A server that does not tell its parameters does not tell its state."""
    return text if row.model.num_parameters else NOTHING
