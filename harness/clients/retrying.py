"""One sample's completion with retries: only where trying again can help, within one deadline."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from harness.clients.completion import Completion
from harness.clients.faults import AttemptError, TransientError

# One attempt with the seconds that are left for it.
Attempt = Callable[[float], Awaitable[Completion]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Full jitter: the n-th wait is drawn from 0 to `initial_s` * 2^n, at most to `max_s`."""

    initial_s: float = 0.2
    max_s: float = 3.0

    def wait_s(self, num_failed: int, generator: random.Random) -> float:
        """The wait after so many failed attempts; never quite nothing."""
        ceiling = min(self.max_s, self.initial_s * 2 ** min(num_failed, 16))
        return generator.uniform(ceiling / 10, ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempts:
    """What became of one sample: a completion, or the error of its last attempt."""

    completion: Completion | None
    error: AttemptError | None
    num_attempts: int
    backoff_ms: float
    # The fault of every attempt but the last.
    faults: tuple[str, ...] = field(default=())


async def complete_with_retries(
    attempt: Attempt,
    *,
    before_retry: Callable[[], Awaitable[None]],
    deadline_s: float,
    generator: random.Random,
    backoff: Backoff,
) -> Attempts:
    """Attempts until there is a completion, a permanent error, or `deadline_s` since the first.

    `before_retry` may raise to stop everything (the server is gone for good, or is another one).
    """
    end = time.monotonic() + deadline_s
    left_s = deadline_s
    waited_s = 0.0
    faults: list[str] = []
    while True:
        completion, error = await _try_once(attempt, left_s)
        left_s = end - time.monotonic()
        # A server that wants to be left alone for longer than there is time is not asked again.
        if not isinstance(error, TransientError) or left_s <= error.retry_after_s:
            break
        faults.append(str(error))
        # Jitter comes on top: all who were turned away at once would come back at once.
        wait_s = min(left_s, error.retry_after_s + backoff.wait_s(len(faults), generator))
        waited_s += wait_s
        await asyncio.sleep(wait_s)
        if time.monotonic() < end:
            await before_retry()
        left_s = end - time.monotonic()
        if left_s <= 0:  # The attempt that failed was the last: its fault is the error.
            faults.pop()
            break
    return Attempts(
        completion=completion,
        error=error,
        num_attempts=len(faults) + 1,
        backoff_ms=waited_s * 1e3,
        faults=tuple(faults),
    )


async def _try_once(
    attempt: Attempt, timeout_s: float
) -> tuple[Completion | None, AttemptError | None]:
    try:
        return await attempt(timeout_s), None
    except AttemptError as error:
        return None, error
