"""The report as tables in a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reports import rows
from harness.reports.collect import Report
from harness.reports.notes import impossible_notes, refused_notes
from harness.reports.pooling import pool
from harness.runs.results import CellResult

Row = TypeVar("Row")
# Wide enough for every column, where the output is a file or a pipe.
_WIDTH_WITHOUT_TERMINAL = 200


def print_report(report: Report) -> None:
    """Prints to standard output: which runs, then family x task x way, sizes, states and costs."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_WITHOUT_TERMINAL)
    for run in report.runs:
        manifest = run.manifest
        names = ", ".join(endpoint.name for endpoint in manifest.endpoints)
        line = (
            f"run {run.number}: {manifest.run}, {names}, seed {manifest.options.seed}, "
            f"{manifest.options.samples} samples a cell"
        )
        if run.num_missing:
            line += f", {run.num_missing} missing: harness eval --resume {run.folder}"
        console.print(Text(line))
    cells = sorted(report.cells, key=rows.by_state)
    shown = "run" if len(report.runs) > 1 else ""
    _print(console, "family x task x way, added up over sizes", rows.POOLS, pool(report.cells))
    _print_sizes(console, report.cells)
    _print(console, "accuracy against state", _without_run(rows.STATE, shown), cells)
    _print(console, "costs and failures, a sample", _without_run(rows.COSTS, shown), cells)
    for line in (*impossible_notes(report.cells), *refused_notes(report.runs)):
        console.print(Text(f"\n{line}"))


def _without_run(columns: rows.Texts, shown: str) -> rows.Texts:
    return {name: text for name, text in columns.items() if name != "run" or name == shown}


def _print_sizes(console: Console, cells: Sequence[CellResult]) -> None:
    """A row an endpoint and way, a column a size."""
    grid: dict[tuple[str, str, str], dict[int, CellResult]] = {}
    for cell in cells:
        asked = cell.asked
        grid.setdefault((asked.task_label, cell.way, cell.label), {})[asked.size] = cell
    sizes = sorted({cell.asked.size for cell in cells})
    table = new_table("accuracy against size")
    for name in ("task", "way", "endpoint"):
        table.add_column(name)
    for size in sizes:
        table.add_column(str(size), justify="right")
    for key, by_size in sorted(grid.items()):
        values = [_accuracy(by_size.get(size)) for size in sizes]
        table.add_row(*(Text(text) for text in (*key, *values)))
    console.print()
    console.print(table)


def _accuracy(cell: CellResult | None) -> str:
    if cell is None:
        return ""
    return f"{rows.number(cell.metrics.accuracy, 3)}\n{rows.interval(cell.metrics.ci95)}"


def _print(
    console: Console,
    title: str,
    columns: Mapping[str, Callable[[Row], str]],
    values: Sequence[Row],
) -> None:
    table = new_table(title)
    for name in columns:
        table.add_column(name, justify="left" if name in rows.LEFT else "right")
    for value in values:
        table.add_row(*(Text(text(value)) for text in columns.values()))
    console.print()
    console.print(table)


def new_table(title: str) -> Table:
    """The style of every table of a report."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
