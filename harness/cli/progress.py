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
        yield LiveProgress(progress)


class Tally:
    """Counts the samples of a part of the run."""

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

    def part_started(self, name: str, *, total: int, done: int) -> None:
        """Nothing."""

    def sample_finished(self, name: str, verdict: Verdict | None) -> None:
        """Nothing."""

    def part_ended(self, name: str) -> None:
        """Nothing."""


class LiveProgress:
    """A bar of each part that is asked now, below a line of each before: a grid has any height."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, tuple[TaskID, Tally]] = {}

    def say(self, text: str, *, is_warning: bool = False) -> None:  # noqa: ARG002
        """Above the bars."""
        self._progress.console.print(printable(text), markup=False, highlight=False)

    def part_started(self, name: str, *, total: int, done: int) -> None:
        """A new bar; a long name has a line of its own."""
        shown = name
        if len(name) + _BESIDE_A_NAME > self._progress.console.width:
            self.say(name)
            shown = ""
        bar = self._progress.add_task(shown, total=total, completed=done, score="")
        self._bars[name] = bar, Tally(total=total, done=done)

    def sample_finished(self, name: str, verdict: Verdict | None) -> None:
        """Moves the bar."""
        bar, tally = self._bars[name]
        tally.add(verdict)
        self._progress.update(bar, completed=tally.done, score=tally.score)

    def part_ended(self, name: str) -> None:
        """A line in place of the bar; the name is there already, where it is long."""
        bar, tally = self._bars.pop(name)
        is_long = len(name) + _BESIDE_A_NAME > self._progress.console.width
        self._progress.remove_task(bar)
        self.say(f"{'' if is_long else name}  {tally.done}/{tally.total} {tally.score}")


class PlainProgress:
    """Lines for a log: when a part begins, every few seconds, and when it is done."""

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._last_line = 0.0

    def say(self, text: str, *, is_warning: bool = False) -> None:  # noqa: ARG002
        """One line."""
        click.echo(printable(text), err=True)

    def part_started(self, name: str, *, total: int, done: int) -> None:
        """Says what is asked and how much of it is left."""
        self._tallies[name] = Tally(total=total, done=done)
        self._last_line = time.monotonic()
        self.say(f"{name}: {total} samples, {done} stored already")

    def sample_finished(self, name: str, verdict: Verdict | None) -> None:
        """A line now and then, with its name where it is not the only one."""
        tally = self._tallies[name]
        tally.add(verdict)
        now = time.monotonic()
        if tally.done == tally.total or now - self._last_line >= _LINE_EVERY_S:
            self._last_line = now
            named = f"{name}: " if len(self._tallies) > 1 else ""
            self.say(f"  {named}{tally.done}/{tally.total} samples {tally.score}")

    def part_ended(self, name: str) -> None:
        """Nothing: its last line said so."""
        del self._tallies[name]
