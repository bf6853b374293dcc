"""Serves a checkpoint on our engine: between its thread and the event loop."""

import asyncio
from collections.abc import AsyncGenerator

from harnessapi.values import ModelDescription

from harness_retrieval.types import Retriever
from harness_servers.backends.description import OWN_DISTRIBUTION, describe
from harness_servers.checkpoints.checkpoint import Checkpoint
from harness_servers.checkpoints.codec import Encoded
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.worker import EngineWorker
from harness_servers.errors import UnavailableError
from harness_servers.generation import Event, GenerationRequest
from harness_servers.models.protocol import SequenceModel
from harness_servers.rpc.intake import Intake
from harness_servers.sequences.delivery import Delivery


class EngineBackend:
    """A Backend; belongs to the event loop on which `start` was called."""

    def __init__(
        self,
        *,
        checkpoint: Checkpoint[SequenceModel],
        retriever: Retriever,
        options: EngineOptions,
        max_prompt_tokens: int,
        name: str,
        distribution: str = OWN_DISTRIBUTION,
    ) -> None:
        self._description = describe(
            checkpoint,
            distribution=distribution,
            num_slots=options.num_slots,
            max_prompt_tokens=max_prompt_tokens,
            name=name,
        )
        self._intake = Intake(checkpoint.codec, self._description)
        self._worker = EngineWorker(
            model=checkpoint.model,
            codec=checkpoint.codec,
            retriever=retriever,
            options=options,
            deliver=self._deliver,
            on_failure=self._fail,
        )
        self._streams: dict[int, asyncio.Queue[Delivery]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed = asyncio.Event()

    def describe(self) -> ModelDescription:
        """See Backend.describe."""
        return self._description

    def tokenize(self, text: str) -> Encoded:
        """See Backend.tokenize."""
        return self._intake.tokenize(text)

    async def start(self) -> None:
        """See Backend.start."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._worker.start)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event]:
        """See Backend.generate."""
        sequence_id = self._worker.submit(await self._intake.read(request))
        stream: asyncio.Queue[Delivery] = asyncio.Queue()
        self._streams[sequence_id] = stream
        is_done = False
        try:
            while not is_done:
                delivery = await stream.get()
                is_done = delivery.is_last
                for event in delivery.events:
                    yield event
                if delivery.error is not None:
                    raise delivery.error
        finally:
            del self._streams[sequence_id]
            if not is_done:
                self._worker.cancel(sequence_id)

    async def wait_failed(self) -> None:
        """See Backend.wait_failed."""
        await self._failed.wait()

    async def close(self) -> None:
        """See Backend.close."""
        await asyncio.to_thread(self._worker.close)

    def _deliver(self, deliveries: list[Delivery]) -> None:
        """On the engine's thread: one wake-up of the loop for all sequences."""
        if self._loop is None:
            raise UnavailableError("the backend was not started")
        self._loop.call_soon_threadsafe(self._dispatch, deliveries)

    def _dispatch(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            stream = self._streams.get(delivery.sequence_id)
            if stream is not None:
                stream.put_nowait(delivery)

    def _fail(self, _error: Exception) -> None:
        """On the engine's thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._failed.set)
