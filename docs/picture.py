"""docs/picture.svg: the first panel of a report, from the rows that `report --json` said of a run.

The run, of which picture.jsonl holds the rows:
harness eval --endpoint all --task assoc_recall --size 8,16,32,64
"""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from harnessapi.values import ModelDescription
from markupsafe import Markup

from harness.reports.chart import HEIGHT, WIDTH, Chart, draw, legend
from harness.reports.document import resource
from harness.reports.figures import against_size
from harness.reports.svg import tag
from harness.runs.cell import Cell
from harness.runs.metrics import Metrics
from harness.runs.results import CellResult
from harness.way import Prompting, Style
from harness_retrieval.types import Mode

ROWS = Path(__file__).with_name("picture.jsonl")
# User units, which are pixels at the width that a page shows it in.
_SIZE = (760, 372)
_CHART_WIDTH = 470
_TOP = 40
_LINE = 26
_NOTES = ("Hollow markers: with a search.", "Whiskers and bands: 95% intervals.")


def picture() -> str:
    """The file as text; it brings its own background, light or dark as the reader likes."""
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    [figure] = against_size([_cell(row) for row in rows])
    width, height = _SIZE
    samples = ", ".join(sorted({str(row["n"]) for row in rows}))
    title = f"{figure.heading}: accuracy against size, {samples} samples a marker"
    svg = tag(
        "svg",
        tag("title", title),
        tag("style", resource("page.css")),
        tag("rect", width=width, height=height, rx=6, class_="background"),
        tag("text", title, x=16, y=27, class_="heading"),
        _chart(figure.chart),
        _legend(figure.chart),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
    )
    return f"{svg}\n"


def _chart(chart: Chart) -> Markup:
    return draw(chart, x=4, y=_TOP, width=_CHART_WIDTH, height=_CHART_WIDTH * HEIGHT / WIDTH)


def _legend(chart: Chart) -> list[Markup]:
    entries = legend(chart)
    named = [
        tag(
            "g",
            swatch,
            tag("text", label.partition(":")[0], x=44, y=11, class_="name"),
            transform=f"translate({_CHART_WIDTH + 14} {_TOP + 12 + number * _LINE})",
        )
        for number, (swatch, label) in enumerate(entries)
    ]
    below = _TOP + 12 + (len(entries) + 1) * _LINE
    notes = [
        tag("text", note, x=_CHART_WIDTH + 14, y=below + number * 20, class_="name")
        for number, note in enumerate(_NOTES)
    ]
    return [*named, *notes]


def _cell(row: dict[str, Any]) -> CellResult:
    """As far as a row tells: the state is that of a sample, so it does not grow."""
    metrics = {one.name: row[one.name] for one in fields(Metrics) if one.name in row}
    return CellResult(
        run=row["run"],
        label=row["endpoint"],
        asked=Cell(
            endpoint=row["endpoint"],
            task=row["task"],
            size=row["size"],
            prompting=Prompting(row["prompting"]),
            retrieval=Mode(row["retrieval"]) if row["retrieval"] else None,
            style=Style(row["style"]),
            max_new_tokens=0,
            parameters=row["task_parameters"],
        ),
        model=ModelDescription(
            name=row["endpoint"],
            family=row["family"],
            num_parameters=row["parameters"],
            state_bytes=row["state_bytes"] or 0,
        ),
        metrics=Metrics(**{**metrics, "ci95": tuple(row["ci95"])}),
        seed=row["seed"],
    )
