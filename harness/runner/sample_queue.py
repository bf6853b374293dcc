"""Hands out the samples of a cell in their order, until a rule says that those asked are enough."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from harness.runs.records import SampleRecord
from harness.runs.run_limits import StopRule
from harness.runs.spent import CellTally
from harness.sample import Sample


class Queued(NamedTuple):
    """One sample, and which time it is asked."""

    sample: Sample
    repeat: int
    # No stored sample follows it, and all repeats of those before it were handed out.
    may_be_left_out: bool


class SampleQueue:
    """The rule is held against nothing but whole beginnings of the samples.

    Quick answers come first: were it held against those that are there, the rule would choose among
    the samples. So where it holds, nobody begins another before those under way are over, and it is
    held against them too.
    """

    def __init__(
        self, queue: Iterator[Queued], rule: StopRule | None, tally: CellTally, *, repeats: int = 1
    ) -> None:
        """`tally`: of the stored samples."""
        self.is_over = False
        self.tally = tally
        self._queue = queue
        self._rule = rule
        self._repeats = repeats
        self._num_running = 0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    async def next(self) -> Queued | None:
        """The next sample, which `ended` has to follow; None: there is none, or it is enough."""
        async with self._turn:
            if self.is_over:
                return None
            asked = next(self._queue, None)
            if asked is None:
                return None
            if asked.may_be_left_out and await self._is_enough():
                self.is_over = True
                return None
            self._num_running += 1
            return asked

    def ended(self, record: SampleRecord | None) -> None:
        """It is stored; None: it errored."""
        self._num_running -= 1
        if record is not None:
            self.tally.add(record)
        self._changed.set()

    async def _is_enough(self) -> bool:
        while self._holds():
            if not self._num_running:
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    def _holds(self) -> bool:
        if self._rule is None:
            return False
        # Repeats of a sample are like each other: what counts is the share of it that is right.
        return self._rule.holds(self.tally.correct / self._repeats, self.tally.n / self._repeats)
