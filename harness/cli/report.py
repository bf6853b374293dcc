"""`harness report`: stored runs as tables, as JSON, as a page."""

import json
import os
from pathlib import Path
from typing import Any, Final

import click

from harness.cli.shared_options import QUIET, RUNS_FOLDER
from harness.errors import IncompleteError
from harness.reports.collect import Report, Visitor, read_report
from harness.reports.lengths import length_json, lengths
from harness.reports.page import report_page
from harness.reports.positions import ByPosition, Positions
from harness.reports.sample_pages import OneSample, Picks, SamplePages
from harness.reports.terminal import print_report
from harness.runs.manifest import Manifest
from harness.runs.records import SampleRecord
from harness.runs.store import find_run, is_logs
from harness.runs.writing import replacing

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command("report", no_args_is_help=True)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--html", "html_file", type=_FILE, help="Write the report as one page, with plots.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a cell, no tables.")
@click.option(
    "--sample",
    metavar="ADDRESS",
    help="With --html: a page of this one sample and every completion of it.",
)
@click.option(
    "--samples-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --html: write a page a sample there, linked from the report.",
)
@click.option(
    "--by",
    type=click.Choice(["position"]),
    help="Also accuracy by where in its context the answer stood, in fifths.",
)
@QUIET
@RUNS_FOLDER
def report_command(runs: tuple[str, ...], **options: Any) -> None:
    """Show what stored runs came to; RUN is a folder, or an ID in the folder of runs.

    Several runs make one report, which says what is from which. Everything is recomputed from the
    stored samples, without a model. A page of --html is one file that loads nothing: plots of
    accuracy against size and state, tables, and samples with their transcripts.

    Of an endpoint that was asked at several sizes: its effective length, the largest size at which,
    and at every smaller one, at least 85% of the accuracy at the smallest is left. Searches of
    servers that disagree with the same searches made here are named.

    \b
      harness report 20260101T120000Z-1a2b
      harness report runs/* --html report.html
      harness report runs/* --html report.html --samples-dir samples
      harness report RUN --html one.html --sample \\
          assoc_recall/alphabet=128,size=16/test/seed=0/index=3
      harness report RUN --json
      harness report RUN --by position

    \b
    Exit status: 0 done; 2 the command was wrong; 4 a run is damaged (the
    others are reported), or no room is left on the disk.
    """
    html_file, samples_dir = options["html_file"], options["samples_dir"]
    as_json: bool = options["as_json"]
    if html_file is None and (samples_dir is not None or options["sample"] is not None):
        raise click.UsageError("--sample and --samples-dir need --html FILE")
    if samples_dir is not None and options["sample"] is not None:
        raise click.UsageError("--sample and --samples-dir exclude each other")
    if options["by"] is not None and options["sample"] is not None:
        raise click.UsageError("--by is of many samples, and --sample of one")
    chosen = [run for run in runs if not is_logs(Path(run))]
    folders = list(dict.fromkeys(_folder(run, options["out"]) for run in chosen))
    if options["sample"] is not None:
        report = _write_sample(folders, OneSample(options["sample"]), html_file)
    else:
        positions = ByPosition() if options["by"] else None
        report = _report(folders, html_file, samples_dir, positions, as_json=as_json)
        if html_file and report.runs and not (as_json and options["quiet"]):
            click.echo(f"written to {html_file}", err=as_json)
    if report.damaged:
        raise IncompleteError("\n".join(report.damaged))


def _folder(run: str, out: Path) -> Path:
    """A folder without a manifest is a damaged run, and not an unknown one."""
    folder = Path(run)
    return folder if folder.is_dir() else find_run(run, out)


def _report(
    folders: list[Path],
    html_file: Path | None,
    samples_dir: Path | None,
    positions: ByPosition | None,
    *,
    as_json: bool,
) -> Report:
    picks = Picks()
    pages = None
    if samples_dir and html_file:
        pages = SamplePages(samples_dir, os.path.relpath(html_file, samples_dir))

    def visitor(manifest: Manifest) -> Visitor:
        visits = [one.visitor(manifest) for one in (picks, pages, positions) if one]

        def visit(record: SampleRecord) -> None:
            for one in visits:
                one(record)

        return visit

    report = read_report(folders, visitor)
    if pages:
        pages.finish()
    if html_file and report.runs:
        at = os.path.relpath(samples_dir, html_file.parent) if samples_dir else None
        _write(html_file, report_page(report, picks, at, _rows(positions, report)))
    if as_json:
        found = lengths(report.cells)
        for cell in report.cells:
            by = {} if positions is None else {"by_position": positions.as_json(cell)}
            click.echo(json.dumps({**cell.as_json(), **length_json(cell, found), **by}))
    elif report.runs:
        print_report(report, positions=_rows(positions, report))
    return report


def _rows(positions: ByPosition | None, report: Report) -> list[Positions] | None:
    return None if positions is None else positions.rows(report.cells)


def _write_sample(folders: list[Path], sample: OneSample, html_file: Path) -> Report:
    report = read_report(folders, sample.visitor)
    if report.runs:
        _write(html_file, sample.page([run.manifest.run for run in report.runs]))
        click.echo(f"written to {html_file}")
    return report


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
