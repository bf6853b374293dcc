"""Ends an attempt once something of its answer came, as whoever keeps the time does."""

import asyncio

from harness.clients.completion import CompletionRequest
from harness.clients.faults import DeadlineError
from harness.clients.model_client import ModelClient


class Heard:
    """A Watch that knows when something came: no time has to pass for it."""

    def __init__(self) -> None:
        self.is_heard = asyncio.Event()

    async def sending(self) -> None: ...

    def heard(self) -> None:
        self.is_heard.set()


async def cut_off_once_heard(client: ModelClient, asked: CompletionRequest) -> None:
    watch = Heard()
    with client.attempts(asked) as attempt:
        task = asyncio.create_task(attempt(None, watch))
        await asyncio.wait_for(watch.is_heard.wait(), 600)
        task.cancel()
        await asyncio.wait({task})
        raise DeadlineError("DEADLINE_EXCEEDED", "the time is over")
