"""What a servicer drives: one model on one engine, asked from one event loop."""

import asyncio
import itertools
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Final

from harnessapi.values import ModelDescription

from harness_retrieval.types import Retriever
from harness_servers.checkpoints.codec import MAX_CHARACTERS_ON_LOOP, Codec
from harness_servers.errors import QueueFullError, UnavailableError
from harness_servers.generation import Event, Job
from harness_servers.sequences.runner_options import RunnerOptions
from harness_servers.sequences.search_worker import Result, SearchWorker
from harness_servers.sequences.sequence_runner import SequenceRunner
from harness_servers.token_source import EngineCounts, News, TokenSource

_log = logging.getLogger(__name__)

_NOT_STARTED: Final = "the engine is not up yet"


class Backend:
    """Belongs to the event loop on which `start` was called. Errors are of the tree in errors.py.

    What happens comes in on that loop, from the engine and from the threads of the searches; then
    `_after` wakes the readers who are to hear of it.
    """

    def __init__(
        self,
        *,
        source: TokenSource,
        codec: Codec,
        description: ModelDescription,
        retriever: Retriever,
        options: RunnerOptions,
    ) -> None:
        # Between text and the model's tokens; and what is served, also before the model is warm.
        self.codec = codec
        self.description = description
        # What the engine last said of itself, where it was asked to; and its slots.
        self.counts: EngineCounts | None = None
        self.num_slots = options.num_slots
        self._source = source
        self._searches = SearchWorker(retriever, self._post_results)
        self._runner = SequenceRunner(
            send=source.send,
            codec=codec,
            context_limit=description.context_limit,
            searches=self._searches,
            context_prefix=uuid.uuid4().hex,
            options=options,
        )
        self._max_readers = options.num_slots + options.max_queued
        # Set where a sequence has something to tell to the one who reads it.
        self._readers: dict[int, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ns = math.inf
        self._watcher: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()
        self._refusal: str | None = _NOT_STARTED  # why no jobs are taken

    @property
    def num_running(self) -> int:
        """Sequences that have a slot."""
        return self._runner.num_running

    @property
    def num_queued(self) -> int:
        """Requests that wait for one."""
        return self._runner.num_queued

    async def start(self) -> None:
        """Returns once the model is warm."""
        self._loop = asyncio.get_running_loop()
        await self._source.start(self._take_news)
        self._watcher = asyncio.create_task(self._watch())
        self._refusal = None

    async def generate(self, job: Job) -> AsyncGenerator[Event]:
        """One Started, Deltas and RetrievalSteps, or one Scored, one Finished. Closing it cancels
        the completion. A reader that is slow gets more at once.

        Raises QueueFullError, UnavailableError.
        """
        if self._refusal is not None:
            raise UnavailableError(self._refusal)
        if len(self._readers) >= self._max_readers:
            raise QueueFullError(
                f"{len(self._readers)} requests are waiting or running; "
                f"the queue holds {self._max_readers}"
            )
        sequence = self._runner.submit(job)
        news = self._readers[sequence.id] = asyncio.Event()
        try:
            self._after()
            is_over = False
            while not is_over:
                await news.wait()
                news.clear()
                is_over = sequence.is_over
                for event in sequence.take():
                    yield event
        finally:
            del self._readers[sequence.id]
            self._runner.cancel(sequence)
            self._after()

    async def wait_failed(self) -> None:
        """Returns when the model can no longer answer; never where all is well."""
        await self._failed.wait()

    async def close(self) -> None:
        """Ends what is running with UnavailableError and lets go of everything."""
        self._end_all("the server is shutting down")
        if self._watcher is not None:
            self._watcher.cancel()
        await self._source.close()
        await asyncio.to_thread(self._searches.close)

    def _take_news(self, news: News) -> None:
        if news.counts is not None:
            self.counts = news.counts
        self._runner.take_news(news)
        self._after()

    def _after(self) -> None:
        """Wakes the readers who are to hear of something now, and itself when others are."""
        for sequence in self._runner.take_due():
            reader = self._readers.get(sequence.id)
            if reader is not None:
                reader.set()
        wake_ns = self._runner.next_wake_ns
        if wake_ns < self._alarm_ns:
            self._set_alarm(wake_ns)

    def _set_alarm(self, wake_ns: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._loop is None:
            return
        self._alarm_ns = wake_ns
        delay_s = max(0.0, (wake_ns - time.monotonic_ns()) / 1e9)
        self._alarm = self._loop.call_later(delay_s, self._wake)

    def _wake(self) -> None:
        self._alarm, self._alarm_ns = None, math.inf
        self._after()

    async def _watch(self) -> None:
        why = await self._source.wait_failed()
        _log.error("%s", why)
        self._end_all(why)
        self._failed.set()

    def _end_all(self, why: str) -> None:
        if self._refusal is None:
            self._refusal = why
        self._runner.end_all(UnavailableError(self._refusal))
        self._after()

    def _post_results(self, results: list[tuple[int, Result]]) -> None:
        """On a thread of the searches, which tokenizes what is long: the event loop would stop."""
        if self._loop is None:
            return
        is_long = [len(_found(result)) > MAX_CHARACTERS_ON_LOOP for _, result in results]
        short = [one for one, waits in zip(results, is_long, strict=True) if not waits]
        if short:
            self._loop.call_soon_threadsafe(self._take_results, short)
        for sequence_id, result in itertools.compress(results, is_long):
            self._runner.prepare(sequence_id, _found(result))
            self._loop.call_soon_threadsafe(self._take_results, [(sequence_id, result)])

    def _take_results(self, results: list[tuple[int, Result]]) -> None:
        for sequence_id, result in results:
            self._runner.take_result(sequence_id, result)
        self._after()


def _found(result: Result) -> str:
    return "" if isinstance(result, UnavailableError) else result.text
