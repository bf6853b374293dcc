"""An event loop on which time passes only while nothing else happens: sockets are real."""

import asyncio
import selectors
import time
from collections.abc import Coroutine
from typing import Any

from harness.clients.clock import Clock

# What is on its way through the kernel is waited for so long before time jumps.
_GRACE_S = 0.003


class JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """`passed_s`: all that was waited for without waiting."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        events = super().select(min(timeout, _GRACE_S))
        if not events:
            self.passed_s += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed_s


def now_s() -> float:
    return asyncio.get_running_loop().time()


CLOCK = Clock(now_s=now_s)


def run_virtual(coroutine: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)


def instant_clock() -> Clock:
    """Real time, but for the waits: they pass at once, and their seconds are counted."""
    skipped_s = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal skipped_s
        skipped_s += max(0.0, seconds)
        await asyncio.sleep(0)

    return Clock(now_s=lambda: time.monotonic() + skipped_s, sleep=sleep)
