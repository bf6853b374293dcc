"""A Backend over a foreign engine: queue, searches, and what happens when the engine dies."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncGenerator
from typing import Final

from harnessapi.values import ModelDescription

from harness_retrieval.types import Retriever
from harness_servers.backends.relay.async_searches import AsyncSearches
from harness_servers.backends.relay.relay import Relay
from harness_servers.backends.relay.token_source import TokenSource
from harness_servers.checkpoints.codec import Codec
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import QueueFullError, UnavailableError, failed
from harness_servers.generation import Event, Job
from harness_servers.sequences.sequence import Sequence
from harness_servers.sequences.transcriber import Transcriber

_NOT_STARTED: Final = "the engine is not up yet"


class RelayBackend:
    """A Backend; belongs to the event loop on which `start` was called."""

    def __init__(
        self,
        *,
        source: TokenSource,
        codec: Codec,
        description: ModelDescription,
        retriever: Retriever,
        options: EngineOptions,
    ) -> None:
        self._source = source
        self.codec = codec
        self.description = description
        self._retriever = retriever
        self._options = options
        self._slots = asyncio.Semaphore(options.num_slots)
        self._context_prefix = uuid.uuid4().hex
        self._ids = itertools.count()
        self._relays: dict[asyncio.Task[None], Relay] = {}
        self._searches: AsyncSearches | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._failed = asyncio.Event()
        self._refusal: str | None = _NOT_STARTED  # why no requests are taken

    async def start(self) -> None:
        """See Backend.start."""
        self._searches = AsyncSearches(self._retriever)
        await self._source.start()
        self._watcher = asyncio.create_task(self._watch())
        self._refusal = None

    async def generate(self, job: Job) -> AsyncGenerator[Event]:
        """See Backend.generate."""
        relay, task = self._begin(job)
        try:
            while events := await relay.stream.take():
                for event in events:
                    yield event
        finally:
            task.cancel()

    async def wait_failed(self) -> None:
        """See Backend.wait_failed."""
        await self._failed.wait()

    async def close(self) -> None:
        """See Backend.close."""
        self._end_all("the server is shutting down")
        await asyncio.gather(*self._relays, return_exceptions=True)
        if self._watcher is not None:
            self._watcher.cancel()
        await self._source.close()
        if self._searches is not None:
            await self._searches.close()

    def _begin(self, job: Job) -> tuple[Relay, asyncio.Task[None]]:
        """Raises QueueFullError, UnavailableError."""
        if self._refusal is not None or self._searches is None:
            raise UnavailableError(self._refusal or _NOT_STARTED)
        num_taken = self._options.num_slots + self._options.max_queued
        if len(self._relays) >= num_taken:
            raise QueueFullError(
                f"{len(self._relays)} requests are waiting or running; the queue holds {num_taken}"
            )
        try:
            sequence = self._make_sequence(job)
        except Exception as error:  # its text alone is at fault
            raise failed(error) from error
        relay = Relay(
            sequence=sequence,
            source=self._source,
            searches=self._searches,
            slots=self._slots,
            stop_ids=self._stop_ids(job),
            flush_interval_ns=self._flush_interval_ns,
        )
        task = asyncio.create_task(relay.run())
        self._relays[task] = relay
        task.add_done_callback(lambda task: self._forget(task, sequence))
        return relay, task

    def _make_sequence(self, job: Job) -> Sequence:
        sequence_id = next(self._ids)
        transcriber = Transcriber(
            job=job,
            codec=self.codec,
            context_id=self._context_id(sequence_id),
            context_limit=self.description.context_limit,
        )
        return Sequence(sequence_id=sequence_id, job=job, transcriber=transcriber)

    def _context_id(self, sequence_id: int) -> str:
        return f"{self._context_prefix}-{sequence_id}"

    def _stop_ids(self, job: Job) -> frozenset[int]:
        """Where the engine stops by itself, so that it writes nothing that would be dropped."""
        ends = frozenset() if job.stopping.ignore_eos else self.codec.eos_ids
        return ends if job.retrieval is None else ends | self.codec.search_end_ids

    def _flush_interval_ns(self) -> int:
        options = self._options
        per_sequence_ns = options.flush_interval_per_sequence_ns
        return max(options.flush_interval_ns, per_sequence_ns * len(self._relays))

    def _forget(self, task: asyncio.Task[None], sequence: Sequence) -> None:
        del self._relays[task]
        if sequence.transcriber.num_searches and self._searches is not None:
            self._searches.forget(self._context_id(sequence.id))

    async def _watch(self) -> None:
        await self._source.wait_failed()
        self._end_all("the engine died")
        self._failed.set()

    def _end_all(self, why: str) -> None:
        self._refusal = self._refusal or why
        for task, relay in self._relays.items():
            relay.stream.put(UnavailableError(self._refusal))
            task.cancel()
