"""Tables for a terminal of any width: a number or a name is never cut.

What does not fit gets narrower gaps, then folds between words; what still does not fit becomes a
paragraph a row.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from harness.errors import printable
from harness.reports.rows import NOTHING

# Wide enough for every column, where the output is a file or a pipe.
_WIDTH_WITHOUT_TERMINAL: Final = 200
# Between columns.
_GAPS: Final = (2, 1)
_RULE: Final = "─"


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """Rows of texts below headings; a newline begins another line of the same cell."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    # The headings of the columns that begin at the left, and may fold.
    left: Collection[str]
    title: str = ""
    # The numbers of the rows, counted from 1, that an empty line follows.
    ends: Collection[int] = ()

    def fits(self, width: int) -> bool:
        """No line has to fold."""
        return sum(self.widths) + _GAPS[-1] * (len(self.headings) - 1) <= width

    @property
    def widths(self) -> list[int]:
        """Of the columns, where nothing folds."""
        return [max(map(_text_width, column)) for column in self._columns()]

    @property
    def least_widths(self) -> list[int]:
        """No narrower than the longest word of a heading or a text, or the longest number."""
        return [
            max(
                _word_width(heading),
                *(_word_width(t) if heading in self.left else _text_width(t) for t in texts),
            )
            for heading, *texts in self._columns()
        ]

    def _columns(self) -> Iterable[tuple[str, ...]]:
        return zip(self.headings, *self.rows, strict=True)


def open_console() -> Console:
    """Of standard output: as wide as the terminal, and wide where it is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)


def print_table(console: Console, table: TextTable) -> None:
    """As a table where its words leave room for that, else a paragraph a row."""
    table = replace(table, rows=[[printable(text) for text in row] for row in table.rows])
    if table.title:
        _print(console, table.title, "bold")
    if len(table.rows) > 1 and not table.fits(console.width):
        table = _shorter(console, table)
    natural, least = table.widths, table.least_widths
    num_gaps = len(natural) - 1
    gap = next((gap for gap in _GAPS if sum(natural) + gap * num_gaps <= console.width), _GAPS[-1])
    spare = console.width - sum(least) - gap * num_gaps
    if spare < 0:
        for row in table.rows:
            print_listed(console, _told(table.headings, row))
        return
    _print_lines(console, table, _widened(least, natural, spare), gap)


def _shorter(console: Console, table: TextTable) -> TextTable:
    """Says once what all rows have in common, and leaves it out."""
    shared = [len(set(texts)) == 1 for texts in zip(*table.rows, strict=True)]
    print_listed(console, _told(compress(table.headings, shared), compress(table.rows[0], shared)))
    kept = [not is_shared for is_shared in shared]
    return replace(
        table,
        headings=list(compress(table.headings, kept)),
        rows=[list(compress(row, kept)) for row in table.rows],
    )


def _told(headings: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    told = zip(headings, texts, strict=True)
    return (
        f"{plain(heading)} {plain(text)}" for heading, text in told if text not in {"", NOTHING}
    )


def _print_lines(console: Console, table: TextTable, widths: Sequence[int], gap: int) -> None:
    for line in _row(console, table, table.headings, widths, gap):
        _print(console, line, "bold")
    _print(console, _RULE * (sum(widths) + gap * (len(widths) - 1)))
    for number, row in enumerate(table.rows, start=1):
        for line in _row(console, table, row, widths, gap):
            _print(console, line)
        if number in table.ends and number < len(table.rows):
            _print(console, "")


def print_listed(console: Console, parts: Iterable[str]) -> None:
    """`task assoc_recall, n 200`: further lines are indented, and a part is on one line if it can.

    A part that is wider than the terminal folds between words.
    """
    lines: list[str] = []
    for part in map(printable, parts):
        longer = f"{lines[-1]}, {part}" if lines else part
        if not lines:
            lines = [part]
        elif cell_len(longer) < console.width:
            lines[-1] = longer
        else:
            lines[-1:] = [f"{lines[-1]},", f"  {part}"]
    for line in lines:
        for shown in _folded(console, line, console.width):
            _print(console, shown)


def print_line(console: Console, line: str) -> None:
    """As it is, but printable; a terminal folds it."""
    console.print(printable(line), markup=False, highlight=False)


def plain(text: str) -> str:
    """`accu-\\nracy` is accuracy: what stood on several lines, on one."""
    return text.replace("-\n", "").replace("\n", " ")


def _widened(widths: list[int], natural: list[int], spare: int) -> list[int]:
    """What lacks most gets the spare room first."""
    widened = list(widths)
    for _ in range(spare):
        lacking = [wanted - has for wanted, has in zip(natural, widened, strict=True)]
        if max(lacking) <= 0:
            break
        widened[lacking.index(max(lacking))] += 1
    return widened


def _row(
    console: Console, table: TextTable, texts: Sequence[str], widths: Sequence[int], gap: int
) -> list[str]:
    """The lines of a row; a heading stands on the rule below it."""
    cells = [_folded(console, text, width) for text, width in zip(texts, widths, strict=True)]
    height = max(map(len, cells))
    columns = []
    for heading, lines, width in zip(table.headings, cells, widths, strict=True):
        above = height - len(lines) if texts is table.headings else 0
        filled = [""] * above + lines + [""] * (height - len(lines) - above)
        spaces = [" " * (width - cell_len(line)) for line in filled]
        is_left = heading in table.left
        pairs = zip(filled, spaces, strict=True)
        columns.append([line + space if is_left else space + line for line, space in pairs])
    return [(" " * gap).join(parts).rstrip() for parts in zip(*columns, strict=True)]


def _folded(console: Console, text: str, width: int) -> list[str]:
    """Lines of at most this width; a word breaks only where it is wider itself."""
    if _text_width(text) <= width:
        return text.split("\n")
    return [line.plain.rstrip() for line in Text(text).wrap(console, width, overflow="fold")]


def _text_width(text: str) -> int:
    return max(map(cell_len, text.split("\n")))


def _word_width(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _print(console: Console, line: str, style: str = "") -> None:
    console.print(Text(line, style=style), no_wrap=True, overflow="ignore", crop=False)
