"""A comparison as a table for a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reports.comparison import Comparison
from harness.reports.rows import number
from harness.reports.sides import Side
from harness.reports.terminal import new_table

_COLUMNS = (
    ("task", "left"),
    ("size", "right"),
    ("A", "left"),
    ("B", "left"),
    ("n", "right"),
    ("acc. A", "right"),
    ("acc. B", "right"),
    ("A - B", "right"),
    ("95% interval", "right"),
    ("b: only A", "right"),
    ("c: only B", "right"),
    ("p", "right"),
    ("unpaired", "right"),
)


def print_comparisons(
    console: Console, first: Side, second: Side, comparisons: Sequence[Comparison]
) -> None:
    """A row a pair of cells, below which runs A and B are."""
    if not console.is_terminal:
        console = Console(width=200)
    for name, side in (("A", first), ("B", second)):
        console.print(Text(f"{name}: {side.endpoint} of run {side.manifest.run}"))
    console.print()
    console.print(_table(comparisons))


def _table(comparisons: Sequence[Comparison]) -> Table:
    table = new_table("paired by sample")
    for name, justify in _COLUMNS:
        table.add_column(name, justify="left" if justify == "left" else "right")
    for comparison in comparisons:
        table.add_row(*(Text(text) for text in _texts(comparison)))
    return table


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
        str(row["unpaired"]),
    ]
