"""Time as the client sees it: what now is, how to wait, and how long after a fault."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


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
class Clock:
    """Seconds, and how to let them pass; a test has one of its own."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
