"""What a wide table says, a narrow one says: every number and name whole, no line too long."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from harness.reports.collect import Report, read_report
from harness.reports.comparison import compare
from harness.reports.comparison_table import print_comparisons
from harness.reports.sides import open_side
from harness.reports.table import print_results
from harness.reports.terminal import print_report
from harness.reports.text_table import TextTable, print_table

RUNS = Path(__file__).parents[1] / "runs" / "stored_runs"
WIDTHS = (40, 60, 80, 100, 120, 200)
Print = Callable[[Console], None]


def report() -> Report:
    folders = [RUNS / "four-families", RUNS / "language-model"]
    return read_report(folders, lambda _manifest: lambda _record: None)


def comparison(console: Console) -> None:
    sides = [open_side(RUNS / "four-families", name, "direct") for name in ("ssm", "transformer")]
    print_comparisons(console, *sides, compare(*sides))


TABLES: dict[str, Print] = {
    "results": lambda console: print_results(report().cells, console),
    "report": lambda console: print_report(report(), console),
    "comparison": comparison,
}


def printed(print_it: Print, width: int) -> list[str]:
    file = io.StringIO()
    print_it(Console(width=width, file=file))
    return file.getvalue().splitlines()


def whole(lines: list[str]) -> set[str]:
    """Numbers, intervals and names: what stands between spaces, but for a comma behind it."""
    words = " ".join(lines).split()
    return {word.rstrip(",") for word in words if re.search(r"\d|_", word)}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_every_number_stands_whole_at_every_width(name: str, width: int) -> None:
    wide, narrow = (printed(TABLES[name], columns) for columns in (1000, width))
    assert len(whole(wide)) > 20
    assert whole(wide) <= whole(narrow)
    assert max(map(len, narrow)) <= width
    assert "…" not in "\n".join(narrow)


def shown(width: int, *rows: list[str]) -> list[str]:
    table = TextTable(headings=["name", "p"], rows=rows, left={"name"})
    return printed(lambda console: print_table(console, table), width)


def test_a_word_folds_where_a_row_does_not_fit_and_a_number_does_not() -> None:
    rows = ["a bc", "2.98e-08"], ["c", "1"]
    assert shown(14, *rows)[2:] == ["a bc  2.98e-08", "c            1"]
    assert shown(13, *rows)[2:] == ["a bc 2.98e-08", "c           1"]
    assert shown(12, *rows) == ["name a bc,", "  p 2.98e-08", "name c, p 1"]
    rows = ["one another", "2.98e-08"], ["c", "1"]
    assert shown(16, *rows)[2:] == ["one     2.98e-08", "another", "c              1"]


def test_what_every_row_says_is_said_once_where_room_is_short() -> None:
    rows = ["one", "7.25"], ["another", "7.25"]
    assert shown(13, *rows)[2:] == ["one      7.25", "another  7.25"]
    assert shown(11, *rows) == ["p 7.25", "name", "───────", "one", "another"]


def test_a_name_that_is_wider_than_the_terminal_is_all_there() -> None:
    assert (
        "".join(shown(8, ["a-very-long-name", "1"])).replace(" ", "") == "namea-very-long-name,p1"
    )
