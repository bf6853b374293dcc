"""Serves a checkpoint on our engine: between its thread and the event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator
from importlib import metadata
from typing import Final

from retrieval.types import Mode, Retriever
from servers.backend import ModelDescription
from servers.checkpoint import Checkpoint
from servers.engine.delivery import Delivery
from servers.engine.job import Job
from servers.engine.options import EngineOptions
from servers.engine.worker import EngineWorker
from servers.errors import UnavailableError
from servers.generation import Event, GenerationRequest
from servers.text import Encoded
from servers.validation import check_options, check_prompt, check_words

_DISTRIBUTION: Final = "recall-harness"
# Longer texts are tokenized beside the event loop: this many characters take a few milliseconds.
_MAX_CHARACTERS_ON_LOOP: Final = 20_000
# A completion ends this much before its call's deadline, so that the client still hears of it.
_MAX_DEADLINE_MARGIN_S: Final = 0.1
_DEADLINE_MARGIN_SHARE: Final = 0.1


class EngineBackend:
    """A Backend; belongs to the event loop on which `start` was called."""

    def __init__(
        self,
        *,
        checkpoint: Checkpoint,
        retriever: Retriever,
        options: EngineOptions,
        max_prompt_tokens: int,
        name: str,
    ) -> None:
        self._codec = checkpoint.codec
        self._description = _describe(checkpoint, options, max_prompt_tokens, name)
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
        encoded = self._codec.encode(text)
        check_words(encoded)
        return encoded

    async def start(self) -> None:
        """See Backend.start."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._worker.start)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event]:
        """See Backend.generate."""
        arrived_ns = time.monotonic_ns()
        check_options(request, self._description)
        prompt_ids = await self._read_prompt(request)
        sequence_id = self._worker.submit(
            Job(
                prompt_ids=prompt_ids,
                sampling=request.sampling,
                stopping=request.stopping,
                retrieval=request.retrieval,
                arrived_ns=arrived_ns,
                deadline_ns=_deadline_ns(arrived_ns, request.deadline_s),
            )
        )
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

    async def _read_prompt(self, request: GenerationRequest) -> tuple[int, ...]:
        ids = request.token_ids
        if request.text is not None:
            if len(request.text) > _MAX_CHARACTERS_ON_LOOP:
                ids = (await asyncio.to_thread(self.tokenize, request.text)).ids
            else:
                ids = self.tokenize(request.text).ids
        check_prompt(ids, self._description)
        return ids

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


def _deadline_ns(arrived_ns: int, deadline_s: float | None) -> int | None:
    if deadline_s is None:
        return None
    margin_s = min(_MAX_DEADLINE_MARGIN_S, deadline_s * _DEADLINE_MARGIN_SHARE)
    return arrived_ns + int((deadline_s - margin_s) * 1e9)


def _describe(
    checkpoint: Checkpoint, options: EngineOptions, max_prompt_tokens: int, name: str
) -> ModelDescription:
    markers = checkpoint.config.markers
    return ModelDescription(
        name=name,
        family=checkpoint.model.family,
        checkpoint_digest=checkpoint.digest,
        tokenizer_digest=checkpoint.tokenizer_digest,
        num_parameters=checkpoint.num_parameters,
        state_bytes=checkpoint.model.state_bytes(),
        state_bytes_per_token=checkpoint.model.state_bytes_per_token(),
        context_limit=checkpoint.model.context_limit,
        engine=_DISTRIBUTION,
        engine_version=_version(),
        dtype=checkpoint.config.dtype,
        device="cpu",
        vocabulary_size=checkpoint.model.vocabulary_size,
        num_slots=options.num_slots,
        max_prompt_tokens=max_prompt_tokens,
        markers=markers,
        modes=tuple(Mode) if markers is not None else (),
        styles=checkpoint.config.styles,
    )


def _version() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "not installed"
