"""How many requests an endpoint is sent at once, and when the next: learnt from its answers.

Additive up, halved where the endpoint turns a request away or lets them queue; one back-off that
all of its requests share. docs/design/0018 says why.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from harness.clients.clock import Backoff, Clock
from harness.clients.faults import TransientError
from harness.clients.learnt_rate import LearntRate
from harness.clients.queue_sense import QueueSense, Sending

MAX_CONCURRENCY: Final = 4096
# A server of others' is sent so many at first, and twice as many after each round of answers.
FIRST_LIMIT: Final = 8
# So many faults without an answer between them are the endpoint's, not of single requests.
_OUTAGE: Final = 3


class Pace:
    """Of one endpoint: each request passes `enter`, and is told of by the other methods.

    `ceiling`: at most so many at once. `first`: so many before anything is learnt. `say` is told
    once that the endpoint turns requests away.
    """

    def __init__(
        self,
        *,
        ceiling: int = MAX_CONCURRENCY,
        first: int | None = None,
        requests_per_minute: float | None = None,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.num_requests = self.num_turned_away = self.most_at_once = self.num_running = 0
        # When something last came back, for any request.
        self.heard_at_s = float("-inf")
        self.clock = clock or Clock()
        self._backoff = backoff or Backoff(initial_s=0.4, max_s=32.0)
        self._say = say
        self._generator = random.Random(0)
        self.ceiling = ceiling
        self.limit: float = min(ceiling, first or ceiling)
        self._is_slow_start = self.limit < ceiling
        self._rate = LearntRate()
        self._queue = QueueSense()
        self._given_spacing_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._mean_s = 0.0
        self._door = asyncio.Lock()
        self._changed = asyncio.Event()
        self._opens_at_s = self._cut_at_s = float("-inf")
        self._is_closed = self._is_rate = False
        self._probe: Sending | None = None
        self._num_faults = 0

    def begin_cell(self) -> None:
        """Other prompts come, of another length."""
        self._queue.begin_cell()

    @property
    def is_slowed(self) -> bool:
        """The endpoint did not keep up with what it could have been sent."""
        return self.num_turned_away > 0 or self._cut_at_s > float("-inf")

    @property
    def is_shut(self) -> bool:
        """A request that comes now would wait until another one got through."""
        is_early = self._opens_at_s > self.clock.now_s()
        return self._is_closed and (is_early or self._probe is not None)

    @property
    def spacing_s(self) -> float:
        """At least so long between two requests."""
        # More at once are spread over a round, so that the first refusal stops the rest of them.
        spread = self._mean_s / self.limit if self._is_slow_start else 0.0
        return max(self._given_spacing_s, self._rate.spacing_s, spread)

    async def enter(self) -> Sending:
        """Waits for the turn of another request, first come first served."""
        async with self._door:
            waited_until_s = float("-inf")
            while self._is_full or self._opens_at_s > waited_until_s:
                if self._is_full:
                    self._changed.clear()
                    await self._changed.wait()
                    continue
                waited_until_s = self._opens_at_s
                wait_s = waited_until_s - self.clock.now_s()
                if wait_s > 0:
                    await self.clock.sleep(wait_s)
            now_s = self.clock.now_s()
            sending = Sending(sent_at_s=now_s)
            self.num_requests += 1
            self.num_running += 1
            self.most_at_once = max(self.most_at_once, self.num_running)
            self._opens_at_s = max(self._opens_at_s, now_s + self.spacing_s)
            self._rate.sent(now_s)
            if self._is_closed:
                self._probe = sending
            return sending

    def leave(self, sending: Sending) -> None:
        """The request is over, however it ended."""
        self.num_running -= 1
        if sending is self._probe:
            self._probe = None
        self._changed.set()

    def heard(self, sending: Sending) -> None:
        """Something of the answer came."""
        self.heard_at_s = self.clock.now_s()
        if sending.heard_at_s is None:
            sending.heard_at_s = self.heard_at_s
            self._rate.let_in(self.heard_at_s)
            if sending is self._probe:
                self._reopen()

    def answered(self, sending: Sending) -> None:
        """The answer is whole."""
        now_s = self.clock.now_s()
        self.heard(sending)
        self._num_faults = 0
        total_s = now_s - sending.sent_at_s
        self._mean_s = total_s if not self._mean_s else 0.8 * self._mean_s + 0.2 * total_s
        self._queue.answered(now_s)
        if sending.sent_at_s < self._cut_at_s:
            return  # It was sent among more than are sent now, and tells of those.
        limit = self._queue.next_limit(sending, self.limit, now_s)
        if limit is not None:
            self._change(limit, now_s)
        elif self.num_running > self.limit / 2:
            self._grow()

    def turned_away(self, sending: Sending, error: TransientError) -> None:
        """A refusal for now: all wait, then one request tries."""
        now_s = self.clock.now_s()
        self.num_turned_away += 1
        if self.num_turned_away == 1:
            self._say(f"it turns requests away, and is asked more slowly: {error}")
        if not self._is_closed:
            self._is_rate = error.is_rate_limit
        elif sending is not self._probe:  # One of those that were sent before it was known.
            self._opens_at_s = max(self._opens_at_s, now_s + error.retry_after_s)
            return
        if sending.sent_at_s >= self._cut_at_s:
            self._change(self.limit / 2, now_s)
        wait_s = error.retry_after_s + self._backoff.wait_s(self._num_faults, self._generator)
        self._num_faults += 1
        self._close(now_s + wait_s)

    def failed(self, wait_s: float) -> None:
        """A fault that may be of the one request, which tries again after `wait_s`.

        So many without an answer between them are an outage: all wait.
        """
        self._num_faults += 1
        if self._num_faults >= _OUTAGE:
            self._close(self.clock.now_s() + wait_s)

    @property
    def _is_full(self) -> bool:
        if self._is_closed:
            return self._probe is not None
        return self.num_running >= int(self.limit)

    def _close(self, until_s: float) -> None:
        self._is_closed = True
        self._opens_at_s = max(self._opens_at_s, until_s)

    def _reopen(self) -> None:
        """One is let in again: so many were, in the time from the last opening to this one."""
        now_s = self.clock.now_s()
        self._rate.reopened(now_s, is_rate_limit=self._is_rate)
        self._opens_at_s = max(self._opens_at_s, now_s + self.spacing_s)
        self._is_closed = self._is_rate = False
        self._probe = None
        self._num_faults = 0
        self._changed.set()

    def _change(self, limit: float, now_s: float) -> None:
        """Answers to what was sent before say nothing of the new limit."""
        self.limit = max(1.0, limit)
        self._is_slow_start = False
        self._cut_at_s = now_s
        self._changed.set()

    def _grow(self) -> None:
        step = 1.0 if self._is_slow_start else 1 / self.limit
        self.limit = min(float(self.ceiling), self.limit + step)
        self._is_slow_start = self._is_slow_start and self.limit < self.ceiling
        self._changed.set()
