"""The report as tables in a terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from rich.console import Console

from harness.reports import captions, rows
from harness.reports.collect import Report
from harness.reports.lengths import LENGTHS, lengths
from harness.reports.model_pages import OVER_TRAININGS, asked_alike
from harness.reports.notes import (
    budget_notes,
    chance_notes,
    impossible_notes,
    refused_notes,
    search_notes,
    untrained_notes,
)
from harness.reports.pooling import pool, without_repetitions
from harness.reports.positions import Positions
from harness.reports.text_table import TextTable, open_console, print_line, print_table
from harness.reports.trained_models import has_several_trainings, trained_models
from harness.runs.results import CellResult

Row = TypeVar("Row")


def print_report(
    report: Report, console: Console | None = None, positions: Sequence[Positions] | None = None
) -> None:
    """Prints to standard output: which runs, then family x task x way, sizes, states and costs.

    `positions`: and accuracy by them, where that is asked for.
    """
    console = console or open_console()
    for run in report.runs:
        manifest = run.manifest
        names = ", ".join(endpoint.name for endpoint in manifest.endpoints)
        line = (
            f"run {run.number}: {manifest.run}, {names}, seed {manifest.options.seed}, "
            f"{manifest.options.samples} samples a cell"
        )
        if manifest.options.shard is not None:
            line += f", shard {manifest.options.shard} of them"
        if run.num_missing:
            line += f", {run.num_missing} missing: harness eval --resume {run.folder}"
        print_line(console, line)
    cells = sorted(report.cells, key=rows.by_state)
    shown = "run" if len(report.runs) > 1 else ""
    pools = pool(report.cells)
    _print(console, "family x task x way, added up over sizes", rows.told(rows.POOLS, pools), pools)
    _print_sizes(console, report.cells)
    if found := lengths(report.cells):
        _print(console, "effective length (85% of the smallest)", LENGTHS, found)
    _print(
        console, "accuracy against state", _without_run(rows.told(rows.STATE, cells), shown), cells
    )
    costs = _without_run(rows.told(rows.COSTS, cells), shown)
    _print(console, "costs and failures, a sample", costs, cells)
    models = trained_models(without_repetitions(report.cells))
    if has_several_trainings(models):
        alike = [row for model in models for row in asked_alike(model)]
        _print(console, "over trainings that differ in the seed", OVER_TRAININGS, alike)
    waited = [cell for cell in cells if cell.metrics.ttft_ms_p50 is not None]
    if waited:
        _print(console, "ms to the first token, then each", _without_run(rows.WAITS, shown), waited)
    repeated = [cell for cell in cells if cell.metrics.repeats > 1]
    if repeated:
        _print(console, "samples asked again", _without_run(rows.REPEATS, shown), repeated)
    if positions is not None:
        _print_positions(console, positions, shown)
    notes = [
        *untrained_notes(report.cells),
        *budget_notes(report.cells),
        *chance_notes(report.cells),
        *search_notes(report.cells),
        *impossible_notes(report.cells),
        *refused_notes(report.runs),
    ]
    for line in notes:
        print_line(console, f"\n{line}")


def _print_positions(console: Console, positions: Sequence[Positions], shown: str) -> None:
    if not positions:
        print_line(console, f"\n{captions.NO_POSITIONS}")
        return
    columns = _without_run(rows.POSITIONS, shown)
    _print(console, "accuracy by where the answer stood", columns, positions)


def _without_run(
    columns: Mapping[str, Callable[[Row], str]], shown: str
) -> Mapping[str, Callable[[Row], str]]:
    return {name: text for name, text in columns.items() if name != "run" or name == shown}


def _print_sizes(console: Console, cells: Sequence[CellResult]) -> None:
    """A row an endpoint and way, a column a size."""
    grid: dict[tuple[str, str, str], dict[int, CellResult]] = {}
    for cell in cells:
        asked = cell.asked
        grid.setdefault((asked.task_label, cell.way, cell.label), {})[asked.size] = cell
    sizes = sorted({cell.asked.size for cell in cells})
    _print_texts(
        console,
        "accuracy against size",
        ["task", "way", "endpoint", *(f"size {size}" for size in sizes)],
        [
            [*key, *(_accuracy(by_size.get(size)) for size in sizes)]
            for key, by_size in sorted(grid.items())
        ],
    )


def _accuracy(cell: CellResult | None) -> str:
    if cell is None:
        return ""
    return f"{rows.accuracy(cell)}\n{rows.interval(cell.metrics.ci95)}"


def _print(
    console: Console,
    title: str,
    columns: Mapping[str, Callable[[Row], str]],
    values: Sequence[Row],
) -> None:
    rows_of_texts = [[text(value) for text in columns.values()] for value in values]
    _print_texts(console, title, list(columns), rows_of_texts)


def _print_texts(
    console: Console, title: str, headings: Sequence[str], texts: Sequence[Sequence[str]]
) -> None:
    console.print()
    print_table(console, TextTable(headings=headings, rows=texts, left=rows.LEFT, title=title))
