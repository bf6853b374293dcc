"""Serves a checkpoint on our engine, which steps on a thread of its own."""

import asyncio
import itertools
import logging
import math
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

import torch
from harnessapi.values import IN_BATCHES

from harness_retrieval.types import Retriever
from harness_servers.backends.backend import EventStream
from harness_servers.backends.description import OWN_DISTRIBUTION, describe
from harness_servers.backends.hosting import Hosting
from harness_servers.checkpoints.checkpoint import Checkpoint, load_checkpoint
from harness_servers.engine.engine import Engine, News
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import CheckpointError, QueueFullError, UnavailableError
from harness_servers.generation import Event, Job
from harness_servers.models.protocol import SequenceModel
from harness_servers.models.reading_proof import reads_in_pieces
from harness_servers.sequences.search_worker import Result, SearchWorker

_log = logging.getLogger(__name__)

# What the engine's thread is asked to do between two steps.
Command = Callable[[Engine], None]
_T = TypeVar("_T")
_JOIN_TIMEOUT_S: Final = 5.0


def make_backend(hosting: Hosting) -> "EngineBackend":
    """A backend that is yet to be started. Raises CheckpointError."""
    checkpoint = load_checkpoint(hosting.folder)
    if not reads_in_pieces(checkpoint.model):
        raise CheckpointError(
            f"checkpoint {hosting.folder}: a text read in pieces gives other logits than read at "
            "once, or none that are numbers; its weights are out of the range of float32"
        )
    return EngineBackend(
        checkpoint=checkpoint,
        retriever=hosting.retriever(),
        options=EngineOptions(num_slots=hosting.slots),
        max_prompt_tokens=hosting.max_prompt_tokens,
        name=hosting.name or checkpoint.name,
        styles=hosting.styles,
    )


class EngineBackend:
    """A Backend; belongs to the event loop on which `start` was called.

    On the loop: everything public, and the streams, one a completion that waits or runs.
    On the engine's thread: `_run` and what it calls, and the engine, which nothing else touches.
    They meet in `_inbox`, and on the way back in `_on_loop`.
    """

    def __init__(
        self,
        *,
        checkpoint: Checkpoint[SequenceModel],
        retriever: Retriever,
        options: EngineOptions,
        max_prompt_tokens: int,
        name: str,
        styles: tuple[str, ...] | None = None,
        distribution: str = OWN_DISTRIBUTION,
        device: str = "cpu",
        decoding: str = IN_BATCHES,
    ) -> None:
        self.codec = checkpoint.codec
        self.description = describe(
            checkpoint,
            distribution=distribution,
            num_slots=options.num_slots,
            max_prompt_tokens=max_prompt_tokens,
            name=name,
            styles=styles,
            device=device,
            decoding=decoding,
        )
        self._inbox: SimpleQueue[Command | None] = SimpleQueue()
        self._searches = SearchWorker(retriever, self._post_results)
        self._engine = Engine(
            model=checkpoint.model,
            codec=checkpoint.codec,
            searches=self._searches,
            context_prefix=uuid.uuid4().hex,
            options=options,
        )
        self._max_streams = options.num_slots + options.max_queued
        self._ids = itertools.count()
        self._streams: dict[int, EventStream] = {}
        self._refusal: str | None = None  # why no more jobs are taken
        self._failed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    # ---- on the event loop

    async def start(self) -> None:
        """See Backend.start."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._engine.runner.warm_up)
        self._thread.start()

    async def generate(self, job: Job) -> AsyncGenerator[Event]:
        """See Backend.generate."""
        if self._refusal is not None:
            raise UnavailableError(self._refusal)
        if len(self._streams) >= self._max_streams:
            raise QueueFullError(
                f"{len(self._streams)} requests are waiting or running; "
                f"the queue holds {self._max_streams}"
            )
        sequence_id = next(self._ids)
        stream = self._streams[sequence_id] = EventStream()
        self._inbox.put(lambda engine: engine.submit(sequence_id, job))
        try:
            while events := await stream.take():
                for event in events:
                    yield event
        finally:
            del self._streams[sequence_id]
            # One that has ended is ignored.
            self._inbox.put(lambda engine: engine.cancel(sequence_id))

    async def wait_failed(self) -> None:
        """See Backend.wait_failed."""
        await self._failed.wait()

    async def close(self) -> None:
        """See Backend.close."""
        self._end_all("the server is shutting down")
        self._inbox.put(None)
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT_S)
        await asyncio.to_thread(self._searches.close)

    def _take_news(self, news: News) -> None:
        for sequence_id, events in news:
            stream = self._streams.get(sequence_id)
            if stream is not None:
                stream.put(events)

    def _fail(self, error: Exception) -> None:
        self._end_all(f"the engine died: {error!r}")
        self._failed.set()

    def _end_all(self, why: str) -> None:
        self._refusal = self._refusal or why
        for stream in self._streams.values():
            stream.put(UnavailableError(self._refusal))

    # ---- on the engine's thread

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._take_commands():
                    self._engine.step()
                    if news := self._engine.take_news():
                        # One wake-up of the loop for all sequences.
                        self._on_loop(self._take_news, news)
        except Exception as error:  # whatever it was, the states can no longer be trusted
            _log.exception("the engine died")
            self._on_loop(self._fail, error)

    def _take_commands(self) -> bool:
        """Runs what has come in, waiting for it where there is nothing else to do; False: end."""
        command: Command | None
        try:
            if self._engine.scheduler.has_work:
                command = self._inbox.get_nowait()
            else:
                command = self._inbox.get(timeout=self._seconds_to_deadline())
            while command is not None:
                command(self._engine)
                command = self._inbox.get_nowait()
        except Empty:
            return True
        return False

    def _seconds_to_deadline(self) -> float | None:
        deadline_ns = self._engine.next_deadline_ns
        if math.isinf(deadline_ns):
            return None
        return max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9)

    def _on_loop(self, callback: Callable[[_T], None], argument: _T) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(callback, argument)

    # ---- on the thread of the searches

    def _post_results(self, results: list[tuple[int, Result]]) -> None:
        def take(engine: Engine) -> None:
            for sequence_id, result in results:
                engine.take_result(sequence_id, result)

        self._inbox.put(take)
