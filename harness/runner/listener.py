"""What a run tells those who watch it."""

from typing import Protocol

from harness.runs.cell import Cell
from harness.scoring.exact import Verdict


class Listener(Protocol):
    """Called on the event loop, in order."""

    def say(self, text: str) -> None:
        """A phase begins, or something happened that a user wants to know."""
        ...

    def cell_started(self, cell: Cell, *, total: int, done: int) -> None:
        """`done` of the cell's `total` samples are stored already."""
        ...

    def sample_finished(self, verdict: Verdict | None) -> None:
        """One sample of the current cell is stored; None: it errored."""
        ...
