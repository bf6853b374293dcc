"""The report as one HTML page: figures, the tables below them, and samples."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from harness.reports import captions, rows
from harness.reports.chart import draw
from harness.reports.collect import Report, ReportRun
from harness.reports.document import document
from harness.reports.figures import Figure, against_size, against_state
from harness.reports.html import Markup, join, tag
from harness.reports.marks import swatch
from harness.reports.notes import impossible_notes, refused_notes
from harness.reports.paper import CAPTION, CURVES, SIZES, PaperCurve
from harness.reports.pooling import pool
from harness.reports.sample_body import KEY, sample_body, verdict
from harness.reports.sample_pages import MAX_RIGHT, MAX_WRONG, Picks, page_name
from harness.runs.records import SampleRecord
from harness.runs.results import CellResult

Row = TypeVar("Row")


def report_page(report: Report, picks: Picks, samples_at: str | None) -> str:
    """`samples_at`: from the page to the folder of sample pages, where there is one."""
    title = "Recall harness: " + ", ".join(dict.fromkeys(cell.asked.task for cell in report.cells))
    return document(
        title,
        [tag("p", f"Left out: {reason}", class_="warning") for reason in report.damaged],
        tag("h2", "Accuracy against size"),
        tag("p", captions.SIZE, class_="note"),
        _figures(against_size(report.cells)),
        _paper(report),
        tag("h2", "Accuracy against state"),
        tag("p", captions.STATE, class_="note"),
        _figures(against_state(report.cells)),
        tag("p", captions.BOUND, class_="note"),
        _tables(report),
        tag("h2", "Runs"),
        _runs(report.runs),
        _samples(report, picks, samples_at),
    )


def _figures(figures: Sequence[Figure]) -> Markup:
    return tag("div", [_figure(figure) for figure in figures], class_="figures")


def _figure(figure: Figure) -> Markup:
    chart = figure.chart
    entries = [
        tag(
            "li",
            swatch(
                series.mark,
                has_line=series.has_line,
                is_hollow=all(point.is_hollow for point in series.points),
            ),
            tag("bdi", series.label),
        )
        for series in chart.series
    ]
    entries += [
        tag("li", swatch(curve.mark, f"curve {curve.kind}"), tag("bdi", curve.label))
        for curve in chart.curves
    ]
    caption = tag("figcaption", tag("ul", entries, class_="legend"))
    return tag("figure", tag("h3", figure.heading), draw(chart), caption)


def _table(columns: Mapping[str, Callable[[Row], str]], values: Sequence[Row]) -> Markup:
    kinds = {name: None if name in rows.LEFT else "number" for name in columns}
    head = tag("tr", [tag("th", name, class_=kinds[name]) for name in columns])
    body = [
        tag("tr", [tag("td", text(value), class_=kinds[name]) for name, text in columns.items()])
        for value in values
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", body)), class_="scroll")


def _tables(report: Report) -> Markup:
    cells = sorted(report.cells, key=rows.by_state)
    return join(
        tag("h2", "Family x task x way"),
        tag("p", captions.POOLS, class_="note"),
        _table(rows.POOLS, pool(report.cells)),
        tag("h2", "Accuracy, by size and state"),
        _table(rows.STATE, cells),
        tag("h2", "Costs and failures"),
        tag("p", captions.COSTS, class_="note"),
        _table(rows.COSTS, cells),
        [tag("p", line, class_="note") for line in impossible_notes(report.cells)],
        [tag("p", line, class_="warning") for line in refused_notes(report.runs)],
    )


def _paper(report: Report) -> Markup:
    """The paper's figures, where the report has a task that the paper ran."""
    curves = [c for c in CURVES if c.task in {cell.asked.task for cell in report.cells}]
    if not curves:
        return Markup()
    columns: dict[str, Callable[[PaperCurve], str]] = {
        "model": lambda curve: curve.label.removeprefix("paper: ")
    }
    for number, size in enumerate(SIZES):
        columns[f"n = {size}"] = partial(_range, number)
    return join(
        tag("h3", "The paper's figures"), _table(columns, curves), tag("p", CAPTION, class_="note")
    )


def _range(number: int, curve: PaperCurve) -> str:
    low, high = curve.accuracies[number]
    return f"{low:.3f}" if low == high else f"{low:.3f}-{high:.3f}"


def _runs(runs: Sequence[ReportRun]) -> Markup:
    columns: dict[str, Callable[[ReportRun], str]] = {
        "run": lambda run: str(run.number),
        "id": lambda run: run.manifest.run,
        "began": lambda run: run.manifest.created_at,
        "endpoints": lambda run: ", ".join(e.name for e in run.manifest.endpoints),
        "seed": lambda run: str(run.manifest.options.seed),
        "samples a cell": lambda run: str(run.manifest.options.samples),
        "missing": lambda run: str(run.num_missing),
        "harness": lambda run: str(run.manifest.versions.get("harness", rows.NOTHING)),
    }
    return _table(columns, runs)


def _samples(report: Report, picks: Picks, samples_at: str | None) -> Markup:
    note = (
        f"Of each cell the first {MAX_WRONG} that are not right and the first {MAX_RIGHT} that are."
    )
    cells = [
        _cell_samples(run, cell, picks.of(run.manifest.run, cell.asked.key), samples_at)
        for run in report.runs
        for cell in run.cells
    ]
    return join(tag("h2", "Samples"), tag("p", note, class_="note"), KEY, cells)


def _cell_samples(
    run: ReportRun, cell: CellResult, records: list[SampleRecord], samples_at: str | None
) -> Markup:
    asked, metrics = cell.asked, cell.metrics
    name = f"{cell.label}: {asked.task_label} size {asked.size}, {cell.way}: "
    summary = f"{name}{metrics.correct} of {metrics.n} right; {len(records)} shown"
    every = Markup()
    if samples_at is not None:
        href = f"{samples_at}/{page_name(run.manifest.run, asked.key)}"
        every = tag("p", tag("a", f"all {metrics.n} samples", href=href))
    shown = [_sample(run, record, samples_at) for record in records]
    return tag("details", tag("summary", summary), every, shown)


def _sample(run: ReportRun, record: SampleRecord, samples_at: str | None) -> Markup:
    answer = "none" if record.answer is None else record.answer
    told = f" target {record.target}, answer {answer}"
    summary = tag("summary", verdict(record), tag("bdi", told))
    own = Markup()
    if samples_at is not None:
        href = f"{samples_at}/{page_name(run.manifest.run, record.cell, record.address)}"
        own = tag("p", tag("a", "its own page", href=href))
    return tag("details", summary, own, sample_body(record))
