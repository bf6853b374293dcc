"""`harness rescore`: what would this version say of a stored run's answers?"""

import json
from pathlib import Path

import click

from harness.cli.shared_options import RUNS_FOLDER
from harness.runs.rescoring import Change, Rescored, rescore
from harness.runs.store import find_run


@click.command("rescore", no_args_is_help=True)
@click.argument("run", metavar="RUN")
@click.option("--in-place", is_flag=True, help="Change the run itself, in one step.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@RUNS_FOLDER
def rescore_command(run: str, in_place: bool, as_json: bool, out: Path) -> None:
    """Score the stored completions of a run anew, without a model.

    RUN is a folder, or an ID in the folder of runs. Answers and verdicts are taken from the stored
    texts by the rules of this version, and what changed is said. All else stays as it is stored,
    what a newer version added to it too. The result is a new run beside the old one, whose manifest
    says where it comes from; where nothing changed, none is written.

    \b
      harness rescore 20260101T120000Z-1a2b
      harness rescore runs/20260101T120000Z-1a2b --in-place
      harness rescore RUN --json

    \b
    Exit status: 0 done, changed or not; 2 the command was wrong, the run is
    damaged, is being worked on, or has a style or task that is not known here
    (nothing was changed); 4 no room is left on the disk (nor then).
    """
    result = rescore(find_run(run, out), in_place=in_place)
    for line in result.mended:
        click.echo(line, err=True)
    if as_json:
        click.echo(json.dumps(_as_json(result)))
        return
    for change in result.changes:
        click.echo(_line(change))
    click.echo(_conclusion(result))


def _line(change: Change) -> str:
    """`CELL: wrong -> correct, 7 samples: ADDRESS, ...`."""
    named = ", ".join(change.addresses)
    more = ", ..." if change.num_samples > len(change.addresses) else ""
    noun = "sample" if change.num_samples == 1 else "samples"
    step = f"{change.before} -> {change.after}"
    if change.before is change.after:
        step = f"{change.before}, with another answer"
    return f"{change.cell}: {step}, {change.num_samples} {noun}: {named}{more}"


def _conclusion(result: Rescored) -> str:
    if not result.changes:
        return f"nothing changed: {result.num_samples} samples of run {result.manifest.run}"
    changed = f"{result.num_changed} of {result.num_samples} samples changed"
    return f"{changed}; stored in {result.folder}"


def _as_json(result: Rescored) -> dict[str, object]:
    return {
        "run": result.folder.name if result.folder else None,
        "folder": str(result.folder) if result.folder else None,
        "rescored_from": result.manifest.run,
        "samples": result.num_samples,
        "changed": result.num_changed,
        "changes": [
            {
                "cell": change.cell,
                "from": change.before.value,
                "to": change.after.value,
                "samples": change.num_samples,
                "addresses": list(change.addresses),
            }
            for change in result.changes
        ],
    }
