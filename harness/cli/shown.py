"""What a run came to, on standard output: for those that work on one and those that join some."""

import errno
import json
from pathlib import Path

import click

from harness.errors import IncompleteError, cannot_write
from harness.reports.notes import spent_note
from harness.reports.table import print_results
from harness.runs.summary import RunResult


def show_results(folder: Path, result: RunResult, *, as_json: bool, is_quiet: bool = False) -> None:
    """Raises IncompleteError where the output has no room for it: the run is stored."""
    try:
        if as_json:
            for cell in result.cells:
                click.echo(json.dumps(cell.as_json()))
        else:
            print_results(result.cells)
            if (line := spent_note(result)) is not None:
                click.echo(line)
        if not as_json or not is_quiet:
            click.echo(f"stored in {folder}", err=as_json)
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # nobody reads on, which is no fault
        stored = f"The run is stored: harness report {folder} shows it"
        raise IncompleteError(f"{cannot_write('the results', error)}\n{stored}") from None
