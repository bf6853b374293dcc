"""`harness report`: stored runs as tables, as JSON, as a page."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from harness.cli.shared_options import QUIET, RUNS_FOLDER
from harness.errors import IncompleteError
from harness.reports.collect import Report, Visitor, read_report
from harness.reports.frontier import choose, panels
from harness.reports.frontier_picture import frontier_picture
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
@click.option(
    "--frontier-svg",
    "picture_file",
    type=_FILE,
    help="Write recall against bytes of state as one picture.",
)
@click.option(
    "--panel",
    metavar="TASK:SIZE",
    help="Of the frontier, in the picture and first on the page.  [default: that of most models,"
    " where they are furthest apart]",
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

    The frontier is recall against bytes of state: a mark a model, without a search and with one.
    Checkpoints that differ in the seed of their training alone are one model, of which mean and
    range are drawn; models that do not tell their state are left out by name.

    \b
      harness report 20260101T120000Z-1a2b
      harness report runs/* --html report.html
      harness report runs/* --html report.html --samples-dir samples
      harness report RUN --html one.html --sample \\
          assoc_recall/alphabet=128,size=16/test/seed=0/index=3
      harness report runs/* --frontier-svg frontier.svg --panel assoc_recall:16
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
    picture_file, panel = options["picture_file"], options["panel"]
    if options["sample"] is not None and (picture_file or panel):
        raise click.UsageError("--frontier-svg and --panel are of many samples, --sample of one")
    if panel is not None and html_file is None and picture_file is None:
        raise click.UsageError("--panel needs --frontier-svg FILE or --html FILE")
    if options["sample"] is not None:
        report = _write_sample(folders, OneSample(options["sample"]), html_file)
    else:
        positions = ByPosition() if options["by"] else None
        files = _Files(html=html_file, samples=samples_dir, picture=picture_file, panel=panel)
        report = _report(folders, files, positions, as_json=as_json)
        for file in (html_file, picture_file):
            if file and report.runs and not (as_json and options["quiet"]):
                click.echo(f"written to {file}", err=as_json)
    if report.damaged:
        raise IncompleteError("\n".join(report.damaged))


def _folder(run: str, out: Path) -> Path:
    """A folder without a manifest is a damaged run, and not an unknown one."""
    folder = Path(run)
    return folder if folder.is_dir() else find_run(run, out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """Where what is written goes; None: it is not asked for. `panel`: which of the frontier."""

    html: Path | None
    samples: Path | None
    picture: Path | None
    panel: str | None

    def write(self, report: Report, picks: Picks, positions: Sequence[Positions] | None) -> None:
        """Both or none: what is wrong with one is found before the other is written."""
        texts: list[tuple[Path, str]] = []
        if self.picture:
            picture = frontier_picture(choose(panels(report.cells), self.panel))
            texts.append((self.picture, picture))
        if self.html:
            at = os.path.relpath(self.samples, self.html.parent) if self.samples else None
            texts.append((self.html, report_page(report, picks, at, positions, self.panel)))
        for path, text in texts:
            _write(path, text)


def _report(
    folders: list[Path], files: _Files, positions: ByPosition | None, *, as_json: bool
) -> Report:
    picks = Picks()
    pages = None
    if files.samples and files.html:
        pages = SamplePages(files.samples, os.path.relpath(files.html, files.samples))

    def visitor(manifest: Manifest) -> Visitor:
        visits = [one.visitor(manifest) for one in (picks, pages, positions) if one]

        def visit(record: SampleRecord) -> None:
            for one in visits:
                one(record)

        return visit

    report = read_report(folders, visitor)
    if pages:
        pages.finish()
    if report.runs:
        files.write(report, picks, _rows(positions, report))
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
