"""`harness merge`: shards become the run that they are of."""

from pathlib import Path
from typing import Final

import click

from harness.cli.shared_options import QUIET
from harness.cli.shown import show_results
from harness.errors import IncompleteError
from harness.runner.merging import merge
from harness.runs.store import find_runs

_IN: Final = Path("runs")


@click.command("merge", no_args_is_help=True)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--out",
    "target",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="MERGED",
    help="The folder of the run that they make; its name is the run's ID.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a cell, no table.")
@QUIET
def merge_command(runs: tuple[str, ...], target: Path, as_json: bool, quiet: bool) -> None:
    """Join all shards of a run (harness eval --shard) into one run, as if never divided.

    RUN is a folder, or an ID in ./runs. The samples are those of the shards, line by line; the
    shards stay as they are. Runs that were not asked the same of the same models are refused, and
    what differs is named, as by harness eval --resume; so are shards that are missing. Samples that
    are missing are named, and harness eval --resume MERGED asks them.

    \b
      harness merge runs/sweep/*/* --out runs/sweep-merged

    \b
    Exit status: 0 done; 2 the command was wrong, or the shards do not make a
    run (nothing is written); 4 samples are missing in the merged run.
    """
    merged = merge(find_runs(runs, _IN), target)
    show_results(target, merged.result, as_json=as_json, is_quiet=quiet)
    if not merged.result.is_complete:
        lines = "\n".join(f"  {line}" for line in merged.missing)
        raise IncompleteError(
            f"{merged.result.num_missing} samples are missing:\n{lines}\n"
            f"To ask them: harness eval --resume {target}"
        )
