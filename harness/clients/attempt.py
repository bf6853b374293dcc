"""One attempt at a request: sent in its turn, and given up after so much time of its own.

Time before the first byte is the endpoint's: a request may wait as long as others are answered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from harness.clients.clock import Clock
from harness.clients.faults import DeadlineError
from harness.clients.pace import Pace
from harness.clients.queue_sense import Sending

_Result = TypeVar("_Result")


class Attempt:
    """The Watch of one attempt. `run` it once; `sending` is the last of its requests."""

    def __init__(self, pace: Pace, clock: Clock, deadline_s: float) -> None:
        self.last: Sending | None = None
        # Seconds that its requests waited for their turn.
        self.paced_s = 0.0
        self._pace = pace
        self._clock = clock
        self._deadline_s = deadline_s
        self._is_sent = False
        self._streamed_s = 0.0
        self._streams_since_s: float | None = None

    @property
    def silent_since_s(self) -> float | None:
        """When it was sent, where nothing of an answer came; None: something did, or it was not."""
        is_silent = self._streams_since_s is None and not self._streamed_s
        return self.last.sent_at_s if self.last is not None and is_silent else None

    async def sending(self) -> None:
        """See Watch."""
        now_s = self._clock.now_s()
        if self._streams_since_s is not None:
            self._streamed_s += now_s - self._streams_since_s
            self._streams_since_s = None
        self._end_request(is_answered=True)
        self.last = await self._pace.enter()
        self._is_sent = True
        self.paced_s += self._clock.now_s() - now_s

    def heard(self) -> None:
        """See Watch."""
        if self.last is not None:
            self._pace.heard(self.last)
        if self._streams_since_s is None:
            self._streams_since_s = self._clock.now_s()

    async def run(self, ask: Callable[["Attempt"], Awaitable[_Result]]) -> _Result:
        """What `ask` returns or raises; DeadlineError once a limit of time is over.

        Its last request is still the pace's until `end`.
        """
        task = asyncio.ensure_future(ask(self))
        try:
            while not task.done():
                left_s = self._ends_at_s() - self._clock.now_s()
                if left_s <= 0:
                    raise self._late()
                await asyncio.wait({task}, timeout=min(left_s, self._deadline_s))
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # It is known of, also where nobody waits for it any more.
        return task.result()

    def end(self, *, is_answered: bool) -> None:
        """Lets go of the last request."""
        self._end_request(is_answered=is_answered)

    def _end_request(self, *, is_answered: bool) -> None:
        if self.last is None or not self._is_sent:
            return
        self._is_sent = False
        if is_answered:
            self._pace.answered(self.last)
        self._pace.leave(self.last)

    def _ends_at_s(self) -> float:
        if self._streams_since_s is not None:
            return self._streams_since_s + self._deadline_s - self._streamed_s
        if not self._is_sent or self.last is None:  # It waits for its turn: no time of its own.
            return self._clock.now_s() + self._deadline_s
        return max(self.last.sent_at_s, self._pace.heard_at_s) + self._deadline_s

    def _late(self) -> DeadlineError:
        limit = f"{self._deadline_s:g} s (--deadline)"
        if self._streams_since_s is not None:
            detail = f"the answer is not whole {limit} after it began"
        else:
            detail = f"nothing came within {limit}, neither to this request nor to another"
        return DeadlineError("DEADLINE_EXCEEDED", detail)
