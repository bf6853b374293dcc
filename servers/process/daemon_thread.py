"""Waits for blocking work on a thread that holds up no exit, as those of asyncio do."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any


async def in_daemon_thread(work: Callable[[], Any]) -> Any:
    """The result of `work`, or its exception; a caller that is cancelled leaves it running."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(settle_future: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            settle_future(value)

    def run() -> None:
        try:
            value, settle_future = work(), future.set_result
        except Exception as error:  # raised again where it is awaited
            value, settle_future = error, future.set_exception
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(settle, settle_future, value)

    threading.Thread(target=run, name="in-daemon-thread", daemon=True).start()
    return await future
