"""Runs a coroutine until it is done, or until Ctrl-C or SIGTERM stops it in order."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

from harness.errors import IncompleteError


class StoppedError(IncompleteError):
    """Ctrl-C or SIGTERM; everything was cleaned up."""


def run_until_signal(coroutine: Coroutine[Any, Any, None]) -> None:
    """Raises StoppedError where a signal ended it; its `finally` blocks have run by then."""
    try:
        asyncio.run(_stopping_at_sigterm(coroutine))
    except KeyboardInterrupt:
        raise StoppedError("stopped by Ctrl-C") from None
    except asyncio.CancelledError:
        raise StoppedError("stopped by SIGTERM") from None


async def _stopping_at_sigterm(coroutine: Coroutine[Any, Any, None]) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.create_task(coroutine)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
