"""What a servicer drives: our engine, or anything else that makes completions."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

from harnessapi.values import ModelDescription

from harness_servers.checkpoints.codec import Codec
from harness_servers.generation import Event, Finished, Job


class Backend(Protocol):
    """One model, asked from one event loop. Errors are of the tree in harness_servers.errors."""

    # What is served; also before the model is warm.
    description: ModelDescription

    @property
    def codec(self) -> Codec:
        """Between text and the model's tokens."""
        ...

    def generate(self, job: Job) -> AsyncGenerator[Event]:
        """One Started, Deltas and RetrievalSteps, one Finished. Closing it cancels the completion.

        Raises QueueFullError, UnavailableError.
        """
        ...

    async def start(self) -> None:
        """Returns once the model is warm."""
        ...

    async def wait_failed(self) -> None:
        """Returns when the model can no longer answer; never where all is well."""
        ...

    async def close(self) -> None:
        """Ends what is running with UnavailableError and lets go of everything."""
        ...


class EventStream:
    """The events of one completion on their way to its reader; belongs to the event loop."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[list[Event] | Exception] = asyncio.Queue()
        self._is_over = False

    def put(self, news: list[Event] | Exception) -> None:
        """The next events, Finished the last of all, or the error that ended the completion."""
        self._news.put_nowait(news)

    async def take(self) -> list[Event]:
        """The next events, at least one; none after Finished. Raises the error."""
        if self._is_over:
            return []
        news = await self._news.get()
        if isinstance(news, Exception):
            raise news
        self._is_over = isinstance(news[-1], Finished)
        return news
