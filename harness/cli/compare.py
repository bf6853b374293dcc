"""`harness compare`: is one run better than another, on the same samples?"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from harness.cli.shared_options import RUNS_FOLDER, CommaList
from harness.errors import InputError
from harness.reports.comparison import Comparison, compare
from harness.reports.comparison_table import print_comparisons
from harness.reports.power import power, require_differences
from harness.reports.sides import Side, narrow, open_side
from harness.reports.text_table import open_console
from harness.runs.store import find_run

_LEAST_DIFFERENCE: Final = 1e-6


class _Difference(click.types.FloatParamType):
    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Fails naming the value that is wrong, NaN too, which a FloatRange lets through."""
        number = float(super().convert(value, param, ctx))
        if not 0 < number <= 1:
            self.fail(f"{value} is no difference: a number above 0 and at most 1", param, ctx)
        if number < _LEAST_DIFFERENCE:
            self.fail(f"{value}: no run is long enough to see less than 0.000001", param, ctx)
        return number


@click.command("compare", no_args_is_help=True)
@click.argument("first", metavar="RUN_A[:ENDPOINT[:WAY]]")
@click.argument("second", metavar="RUN_B[:ENDPOINT[:WAY]]")
@click.option(
    "--task",
    type=CommaList(click.STRING, "TASK,..."),
    help="Compare these tasks, by name or PATH.py:CLASS.  [default: all]",
)
@click.option(
    "--size", type=CommaList(click.INT, "N,..."), help="Compare these sizes.  [default: all]"
)
@click.option(
    "--power", "with_power", is_flag=True, help="Say how many samples it takes to see a difference."
)
@click.option(
    "--difference",
    type=_Difference(),
    help="With --power: this difference in accuracy, above 0 and at most 1.  "
    "[default: the one that was seen]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a row, no table.")
@RUNS_FOLDER
def compare_command(first: str, second: str, as_json: bool, out: Path, **chosen: Any) -> None:
    """Compare two runs, or two endpoints of one run, sample by sample.

    Each sample is paired with the one of the same address. A row is a task and size: how many
    pairs only the one and only the other has right, the difference in accuracy with its 95%
    interval, and the two-sided p of McNemar's test. Both are mid-p: 0 is outside the interval
    exactly where p is below 0.05. p is of one row; over many rows some are small by chance, so
    beside it stands p adjusted by Holm for all rows of the comparison.

    With --power: the number of samples with which such a test finds the difference (p below 0.05,
    not adjusted) four times in five. As many pairs are taken to be right on one side alone as were.

    A side is a run, by its ID or folder; where the run has several endpoints, one of them is named.
    Cells are paired that were asked the same way; where the ways differ (one searched, the other
    did not), the only ones of a task and size. WAY chooses where there are several: a prompting, or
    more words of a way, like 'search lying', 'twice', or of the usual one 'once filler=0 honest'.
    What one side was not asked is left out, and said.

    \b
      harness compare 20260101T120000Z-1a2b 20260102T120000Z-3c4d
      harness compare RUN:rnn RUN:rnn-rag
      harness compare RUN:rnn:direct RUN:rnn:cot --json
      harness compare RUN:rnn-rag:honest RUN:rnn-rag:lying
      harness compare RUN_A:rnn RUN_B:ssm --task assoc_recall,index --size 16
      harness compare RUN:rnn RUN:rnn-rag --power --difference 0.05

    \b
    Exit status: 0 done; 2 the command was wrong, a run is damaged, or the two
    were not asked the same samples (what differs is named), or share none,
    or --power has no difference to see (all rows are printed all the same).
    """
    wanted: float | None = chosen["difference"]
    if wanted is not None and not chosen["with_power"]:
        raise click.UsageError("--difference needs --power")
    whole = (_side(first, out), _side(second, out))
    one, other = narrow(whole, chosen["task"], chosen["size"])
    comparisons = compare(one, other)
    powers = [power(row, wanted) for row in comparisons] if chosen["with_power"] else None
    if as_json:
        for place, row in enumerate(comparisons):
            found = powers[place] if powers else None
            more = {"power": found and found.as_json()} if powers else {}
            click.echo(json.dumps({**row.as_json(), **more}))
    else:
        print_comparisons(open_console(), one, other, comparisons, powers)
    _say_what_is_left_out((one, other), comparisons)
    if powers:
        require_differences(comparisons, powers)


def _say_what_is_left_out(sides: Sequence[Side], comparisons: Sequence[Comparison]) -> None:
    compared = {cell.key for row in comparisons for cell in (row.first, row.second)}
    for side in sides:
        for cell in side.cells:
            if cell.key not in compared:
                click.echo(f"not compared: {cell.key}, asked on one side alone", err=True)
    num_unpaired = sum(comparison.num_unpaired for comparison in comparisons)
    if num_unpaired:
        click.echo(
            f"{num_unpaired} samples have a completion on one side alone and are not compared; "
            "harness eval --resume finishes a run",
            err=True,
        )


def _side(text: str, out: Path) -> Side:
    """`RUN:ENDPOINT:WAY`; a folder may have colons in its own name."""
    for num_parts in range(3):
        run, *rest = text.rsplit(":", num_parts) if num_parts else [text]
        try:
            folder = find_run(run, out)
        except InputError:
            continue
        endpoint, way = (*rest, None, None)[:2]
        return open_side(folder, endpoint, way)
    find_run(text.partition(":")[0], out)
    raise InputError(f"'{text}' is not RUN, RUN:ENDPOINT or RUN:ENDPOINT:WAY")
