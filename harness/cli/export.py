"""`harness export`: the samples of runs as one table, for other programs."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import click

from harness.cli.shared_options import RUNS_FOLDER
from harness.reports.flat import flat_rows
from harness.reports.formats import FORMATS
from harness.runs.manifest import read_manifest, require_another_run
from harness.runs.store import find_runs

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.command("export", no_args_is_help=True)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--parquet", type=_FILE, help="Write Parquet; needs the extra `export` (pyarrow).")
@click.option("--csv", type=_FILE, help="Write CSV, with a heading.")
@click.option("--jsonl", type=_FILE, help="Write one JSON object a line.")
@RUNS_FOLDER
def export_command(runs: tuple[str, ...], out: Path, **files: Path | None) -> None:
    """Write the samples of runs as one table: a row a sample, flat columns.

    Columns: run, endpoint and its model, task, size and how it was asked, seed, index and address,
    prompt, target, answer, verdict, counts of tokens and searches, times, the transcript as text,
    what --log-probs stored (a sum, and the tokens as JSON), how long a token took (p50, p90, p99),
    and how many searches of the server disagree with the same ones made here. Samples are read one
    at a time, so a run may be larger than the memory.

    \b
      harness export 20260101T120000Z-1a2b --parquet samples.parquet
      harness export runs/* --csv samples.csv
      duckdb -c "select task, size, avg(is_correct::int)
                 from 'samples.parquet' group by all"

    \b
    Exit status: 0 done; 2 the command was wrong, a run is damaged or named
    twice; 4 no room is left on the disk (there is no file then).
    """
    chosen = {kind: path for kind, path in files.items() if path is not None}
    if not chosen:
        raise click.UsageError("--parquet, --csv or --jsonl FILE is needed")
    if Path("-") in chosen.values():
        raise click.UsageError("a file is needed, not `-`; /dev/stdout is one")
    folders = find_runs(runs, out)
    known: dict[str, Path] = {}
    for folder in folders:
        run = read_manifest(folder).run
        require_another_run(run, folder, known)
        known[run] = folder
    for kind, path in chosen.items():
        num_rows = FORMATS[kind](path, chain.from_iterable(map(flat_rows, folders)))
        click.echo(f"{num_rows} samples written to {path}")
    num_missing = _num_without_row(folders, num_rows)
    if num_missing:
        click.echo(
            f"{num_missing} samples that the runs ask for are not in it: they errored, or were not "
            "asked yet; harness eval --resume finishes a run",
            err=True,
        )


def _num_without_row(folders: Sequence[Path], num_rows: int) -> int:
    return sum(read_manifest(folder).num_samples for folder in folders) - num_rows
