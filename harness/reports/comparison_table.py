"""A comparison as a table for a terminal."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console

from harness.reports.comparison import Comparison
from harness.reports.power import Power
from harness.reports.rows import NOTHING, number
from harness.reports.sides import Side
from harness.reports.text_table import TextTable, print_line, print_table

_HEADINGS: Final = (
    "task",
    "size",
    "A",
    "B",
    "n",
    "acc. A",
    "acc. B",
    "A - B",
    "95% interval",
    "b: only A",
    "c: only B",
    "p",
    "p Holm",
    "unpaired",
)
# Where they were asked for.
_POWER: Final = ("to see", "samples")
# Where a side has that verdict.
_LENIENT: Final = ("lenient A", "lenient B")
_LEFT: Final = ("task", "A", "B")


def print_comparisons(
    console: Console,
    first: Side,
    second: Side,
    comparisons: Sequence[Comparison],
    powers: Sequence[Power | None] | None = None,
) -> None:
    """A row a pair of cells, below which runs A and B are; `powers`: one for each, if wanted."""
    for name, side in (("A", first), ("B", second)):
        print_line(console, f"{name}: {side.endpoint} of run {side.manifest.run}")
    console.print()
    texts = [_texts(comparison) for comparison in comparisons]
    lenient = [_lenient(comparison) for comparison in comparisons]
    headings: Sequence[str] = _HEADINGS
    if any(text != NOTHING for row in lenient for text in row):
        headings = (*_HEADINGS, *_LENIENT)
        texts = [[*row, *more] for row, more in zip(texts, lenient, strict=True)]
    if powers is not None:
        headings = (*headings, *_POWER)
        texts = [[*row, *_power(one)] for row, one in zip(texts, powers, strict=True)]
    print_table(
        console,
        TextTable(headings=headings, rows=texts, left=_LEFT, title="paired by sample"),
    )


def _texts(comparison: Comparison) -> list[str]:
    row = comparison.as_json()
    low, high = row["ci95"]
    return [
        comparison.first.task_label,
        str(row["size"]),
        comparison.first.way.name,
        comparison.second.way.name,
        str(row["n"]),
        number(row["accuracy_first"], 3),
        number(row["accuracy_second"], 3),
        "-" if row["difference"] is None else f"{row['difference']:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
        str(row["only_first"]),
        str(row["only_second"]),
        f"{row['p']:.3g}",
        f"{row['p_holm']:.3g}",
        str(row["unpaired"]),
    ]


def _power(power: Power | None) -> list[str]:
    if power is None:
        return [NOTHING, NOTHING]
    return [f"{power.difference:+.3f}", number(power.num_samples, 0)]


def _lenient(comparison: Comparison) -> list[str]:
    row = comparison.as_json()
    return [number(row[f"lenient_accuracy_{side}"], 3) for side in ("first", "second")]
