"""Talks to one model server: one channel, one attempt a call; protobuf ends here."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.description import description_from_wire
from harnessapi.rpc.enums import MODES
from harnessapi.rpc.options import channel_options
from harnessapi.rpc.probe import is_serving
from harnessapi.rpc.targets import Target
from harnessapi.values import ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.faults import (
    BROKEN_STREAM,
    AttemptError,
    DeadlineError,
    RefusedError,
    TransientError,
)
from harness.clients.model_client import UNWATCHED, Attempts, Watch
from harness.clients.transcript import Transcript
from harness.sample import Prompt

_PROBE_TIMEOUT_S: Final = 5.0


class Client:
    """Belongs to the event loop that it was made on."""

    def __init__(self, target: Target) -> None:
        self._channel = grpc.aio.insecure_channel(target.name, options=channel_options(target))
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def close(self) -> None:
        """Cancels what is running and lets go of the connection."""
        await self._channel.close()

    async def is_serving(self) -> bool:
        """Whether the server is there, and says that its model is warm."""
        return await is_serving(self._channel, timeout_s=_PROBE_TIMEOUT_S)

    async def get_model(self) -> ModelDescription:
        """Raises AttemptError."""
        try:
            return description_from_wire(
                await self._stub.GetModel(pb.GetModelRequest(), timeout=_PROBE_TIMEOUT_S)
            )
        except grpc.aio.AioRpcError as error:
            raise _attempt_error(error) from None

    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """Raises RefusedError where a word is outside the vocabulary, else AttemptError."""
        try:
            answer = await self._stub.Tokenize(
                pb.TokenizeRequest(text=prompt.text), timeout=min(timeout_s, _PROBE_TIMEOUT_S)
            )
        except grpc.aio.AioRpcError as error:
            raise _attempt_error(error) from None
        return len(answer.token_ids)

    async def complete(
        self,
        request: CompletionRequest,
        *,
        timeout_s: float | None = None,
        watch: Watch = UNWATCHED,
    ) -> Completion:
        """One attempt. Raises AttemptError: Transient, Deadline, Refused, or none of them."""
        transcript = Transcript()
        await watch.sending()
        sent = time.perf_counter()
        try:
            async for event in self._stub.Generate(_to_wire(request), timeout=timeout_s):
                watch.heard()
                transcript.add(event, (time.perf_counter() - sent) * 1e3)
        except grpc.aio.AioRpcError as error:
            raise _attempt_error(error) from None
        return transcript.completion((time.perf_counter() - sent) * 1e3)

    @contextmanager
    def attempts(self, request: CompletionRequest) -> Iterator[Attempts]:
        """Each begins anew: the server runs the searches, and keeps what it read."""
        yield lambda timeout_s, watch: self.complete(request, timeout_s=timeout_s, watch=watch)


def _to_wire(request: CompletionRequest) -> pb.GenerateRequest:
    message = pb.GenerateRequest(
        text=request.prompt.text,
        sampling=pb.SamplingOptions(temperature=0.0, seed=request.repeat),
        stopping=pb.StoppingOptions(max_new_tokens=request.max_new_tokens),
    )
    if request.mode is not None:
        message.retrieval.mode = MODES.number(request.mode)
        # max_new_tokens is the limit that counts: a search takes several of them.
        message.retrieval.max_searches = request.max_new_tokens
        message.retrieval.abbreviations.extend(
            pb.Abbreviation(query=one.query, pattern=one.pattern) for one in request.abbreviations
        )
    return message


def _attempt_error(error: grpc.aio.AioRpcError) -> AttemptError:
    code, detail = error.code(), error.details() or ""
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
        return TransientError(code.name, detail)
    # We cancel by cancelling the task, which never gets here: the server hung up midway.
    if code is grpc.StatusCode.CANCELLED:
        return TransientError(BROKEN_STREAM, detail)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(code.name, detail)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return RefusedError(code.name, detail)
    return AttemptError(code.name, detail)
