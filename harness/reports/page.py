"""The report as one HTML page: figures, the tables below them, and samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from markupsafe import Markup

from harness.reports import captions, rows
from harness.reports.collect import Report, ReportRun
from harness.reports.document import document
from harness.reports.figures import against_size, against_state
from harness.reports.finding import finding
from harness.reports.frontier import choose, panels
from harness.reports.frontier_chart import frontier_svg
from harness.reports.lengths import LENGTHS, lengths
from harness.reports.model_pages import ROWS, ModelPage, model_pages, training_columns
from harness.reports.notation import notations
from harness.reports.notes import (
    budget_notes,
    chance_notes,
    impossible_notes,
    refused_notes,
    search_notes,
    untrained_notes,
)
from harness.reports.paper import CAPTION, CURVES, SIZES, PaperCurve
from harness.reports.pooling import pool, without_repetitions
from harness.reports.positions import Positions
from harness.reports.references import is_bounding
from harness.reports.sample_pages import MAX_RIGHT, MAX_WRONG, Picks, page_name
from harness.reports.trained_models import (
    has_several_trainings,
    over_trainings,
    trained_models,
)
from harness.runs.metrics import Metrics
from harness.runs.records import SampleRecord
from harness.runs.run_options import RunOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownSamples:
    """Some samples of a cell, each with the address of its own page, where there are such pages."""

    name: str
    metrics: Metrics
    page: str | None
    records: Sequence[tuple[SampleRecord, str | None]]


def report_page(
    report: Report,
    picks: Picks,
    samples_at: str | None,
    positions: Sequence[Positions] | None = None,
    panel: str | None = None,
) -> str:
    """`samples_at`: from the page to the folder of sample pages, where there is one.

    `positions`: accuracy by them, where that is asked for. `panel`: which one of the frontier comes
    first; see `choose`, whose InputError this raises.
    """
    models = trained_models(without_repetitions(report.cells))
    pages = model_pages(models)
    has_several = has_several_trainings(models)
    tasks = list(dict.fromkeys(cell.asked.task for cell in report.cells))
    return document(
        "report.html",
        title="Recall harness: " + ", ".join(tasks),
        damaged=report.damaged,
        finding=finding(report.cells),
        captions=captions,
        frontier=_frontier(report, panel, pages),
        has_several_trainings=has_several,
        against_size=against_size(over_trainings(models) if has_several else report.cells),
        # Over several trainings the frontier says it, and the names of all have no room here.
        against_state=[] if has_several else against_state(report.cells),
        model_pages=pages,
        model_columns=ROWS,
        training_columns=training_columns,
        is_bounding=is_bounding(report.cells),
        **_tables(report),
        positions=positions,
        notations=notations(tasks),
        max_wrong=MAX_WRONG,
        max_right=MAX_RIGHT,
        samples=_samples(report, picks, samples_at),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawnPanel:
    """A panel of the frontier as SVG, its names linked to what is said of the models."""

    title: str
    drawing: Markup
    has_bound: bool


def _frontier(report: Report, name: str | None, pages: Sequence[ModelPage]) -> list[DrawnPanel]:
    """The one that was chosen, then the others; none where no panel has two models."""
    found = panels(report.cells)
    several = [one for one in found if len(one.standings) > 1]
    if not several and name is None:
        return []
    first = choose(found, name)
    anchors = {page.model.name: f"#{page.anchor}" for page in pages}
    return [
        DrawnPanel(
            title=one.title,
            drawing=frontier_svg(one, anchors.get),
            has_bound=one.bound is not None,
        )
        for one in [first, *(other for other in several if other is not first)]
    ]


def _tables(report: Report) -> Mapping[str, Any]:
    """What the tables show, and the columns they show it in."""
    return {
        "left": rows.LEFT,
        "columns": rows,
        "length_columns": LENGTHS,
        "lengths": lengths(report.cells),
        "pools": pool(report.cells),
        "cells": sorted(report.cells, key=rows.by_state),
        "waited": sorted(
            (c for c in report.cells if c.metrics.ttft_ms_p50 is not None), key=rows.by_state
        ),
        "repeated": sorted((c for c in report.cells if c.metrics.repeats > 1), key=rows.by_state),
        "untrained": untrained_notes(report.cells),
        "searched_otherwise": search_notes(report.cells),
        "budgets": budget_notes(report.cells),
        "chances": chance_notes(report.cells),
        "impossible": impossible_notes(report.cells),
        "refused": refused_notes(report.runs),
        "run_columns": _RUNS,
        "runs": report.runs,
        "paper_columns": _PAPER,
        "paper": [c for c in CURVES if c.task in {cell.asked.task for cell in report.cells}],
        "paper_caption": CAPTION,
    }


def _range(number: int, curve: PaperCurve) -> str:
    low, high = curve.accuracies[number]
    return f"{low:.3f}" if low == high else f"{low:.3f}-{high:.3f}"


def _samples_a_cell(options: RunOptions) -> str:
    shard = "" if options.shard is None else f", shard {options.shard} of them"
    return f"{options.samples}{shard}"


_PAPER: Final[Mapping[str, Callable[[PaperCurve], str]]] = {
    "model": lambda curve: curve.label.removeprefix("paper: "),
    **{f"n = {size}": partial(_range, number) for number, size in enumerate(SIZES)},
}
_RUNS: Final[Mapping[str, Callable[[ReportRun], str]]] = {
    "run": lambda run: str(run.number),
    "id": lambda run: run.manifest.run,
    "began": lambda run: run.manifest.created_at,
    "endpoints": lambda run: ", ".join(e.name for e in run.manifest.endpoints),
    "seed": lambda run: str(run.manifest.options.seed),
    "samples a cell": lambda run: _samples_a_cell(run.manifest.options),
    "missing": lambda run: str(run.num_missing),
    "harness": lambda run: str(run.manifest.versions.get("harness", rows.NOTHING)),
}


def _samples(report: Report, picks: Picks, samples_at: str | None) -> list[ShownSamples]:
    def page(*names: str) -> str | None:
        return None if samples_at is None else f"{samples_at}/{page_name(*names)}"

    return [
        ShownSamples(
            name=f"{cell.label}: {cell.asked.task_label} size {cell.asked.size}, {cell.way}",
            metrics=cell.metrics,
            page=page(cell.run, cell.asked.key),
            records=[
                (record, page(cell.run, record.cell, record.name))
                for record in picks.of(cell.run, cell.asked.key)
            ],
        )
        for cell in report.cells
    ]
