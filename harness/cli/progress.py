"""What a run is doing, on standard error: a live bar in a terminal, else a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from harness.errors import printable
from harness.runner.cell_run import Listener
from harness.runs.cell import Cell
from harness.scoring.exact import Verdict

_LINE_EVERY_S: Final = 5.0
# Columns for a bar, counts, accuracy and time.
_BESIDE_A_NAME: Final = 60


@contextmanager
def open_listener(*, is_quiet: bool) -> Iterator[Listener]:
    """The listener that fits standard error; it leaves the terminal as it was."""
    if is_quiet:
        yield NoProgress()
        return
    if not sys.stderr.isatty():
        yield PlainProgress()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[score]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=5,
    ) as progress:
        listener = LiveProgress(progress)
        try:
            yield listener
        finally:
            listener.close()


class Tally:
    """Counts the samples of the current cell."""

    def __init__(self, *, total: int, done: int) -> None:
        self.total = total
        self.done = done
        self.scored = 0
        self.correct = 0
        self.errored = 0

    def add(self, verdict: Verdict | None) -> None:
        """None: the sample errored."""
        self.done += 1
        self.errored += verdict is None
        self.scored += verdict is not None
        self.correct += verdict is Verdict.CORRECT

    @property
    def score(self) -> str:
        """Accuracy of this session so far."""
        accuracy = f"accuracy {self.correct / self.scored:.3f}" if self.scored else ""
        errors = f" {self.errored} errored" if self.errored else ""
        return accuracy + errors


class NoProgress:
    """Warnings alone."""

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """One line, where it is a warning."""
        if is_warning:
            click.echo(printable(text), err=True)

    def cell_started(self, cell: Cell, *, total: int, done: int) -> None:
        """Nothing."""

    def sample_finished(self, verdict: Verdict | None) -> None:
        """Nothing."""


class LiveProgress:
    """A bar of the current cell below a line of each before it: a grid may be of any height."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tally = Tally(total=0, done=0)
        self._bar: TaskID | None = None
        self._name = ""

    def say(self, text: str, *, is_warning: bool = False) -> None:  # noqa: ARG002
        """Above the bar."""
        self._progress.console.print(printable(text), markup=False, highlight=False)

    def cell_started(self, cell: Cell, *, total: int, done: int) -> None:
        """A new bar, and a line of the one before; a long name has a line of its own."""
        self.close()
        self._tally = Tally(total=total, done=done)
        self._name = describe(cell)
        if len(self._name) + _BESIDE_A_NAME > self._progress.console.width:
            self.say(self._name)
            self._name = ""
        self._bar = self._progress.add_task(self._name, total=total, completed=done, score="")

    def sample_finished(self, verdict: Verdict | None) -> None:
        """Moves the bar."""
        self._tally.add(verdict)
        if self._bar is not None:
            self._progress.update(self._bar, completed=self._tally.done, score=self._tally.score)

    def close(self) -> None:
        """A line in place of the bar, where there is one."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None
            self.say(f"{self._name}  {self._tally.done}/{self._tally.total} {self._tally.score}")


class PlainProgress:
    """Lines for a log: when a cell begins, every few seconds, and when it ends."""

    def __init__(self) -> None:
        self._tally = Tally(total=0, done=0)
        self._last_line = 0.0

    def say(self, text: str, *, is_warning: bool = False) -> None:  # noqa: ARG002
        """One line."""
        click.echo(printable(text), err=True)

    def cell_started(self, cell: Cell, *, total: int, done: int) -> None:
        """Says what is asked and how much of it is left."""
        self._tally = Tally(total=total, done=done)
        self._last_line = time.monotonic()
        self.say(f"{describe(cell)}: {total} samples, {done} stored already")

    def sample_finished(self, verdict: Verdict | None) -> None:
        """A line now and then."""
        self._tally.add(verdict)
        now = time.monotonic()
        if self._tally.done == self._tally.total or now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            self.say(f"  {self._tally.done}/{self._tally.total} samples {self._tally.score}")


def describe(cell: Cell) -> str:
    """A cell for people: `rnn-rag assoc_recall 16 search dense`."""
    return f"{cell.endpoint} {cell.task_label} {cell.size} {cell.way.name}"
