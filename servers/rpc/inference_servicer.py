"""InferenceService over any backend. Errors are mapped to status codes by the interceptor."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.description import description_to_wire

from harness_servers.backends.backend import Backend
from harness_servers.errors import OutOfTimeError
from harness_servers.generation import MAX_NEW_TOKENS, Event, Job, Scored, TokenLogProb
from harness_servers.rpc.intake import Intake
from harness_servers.rpc.wire import write_event, write_log_prob

# Of a completion that begins: who is told of its events, on the event loop.
Follower = Callable[[Job], Callable[[Event], None]]
# Tokens of a score, some of which have twenty others beside them.
_WRITTEN_AT_ONCE: Final = 256


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Reads requests into jobs for the backend, and writes its events."""

    def __init__(
        self,
        backend: Backend,
        *,
        max_new_tokens: int = MAX_NEW_TOKENS,
        followers: Sequence[Follower] = (),
    ) -> None:
        """`followers`: who is told of every event, without which nothing is done for them."""
        self._backend = backend
        self._followers = followers
        self._model = replace(backend.description, max_new_tokens=max_new_tokens)
        self._intake = Intake(backend.codec, self._model)

    async def GetModel(  # noqa: N802
        self, _request: pb.GetModelRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetModelResponse:
        """What is served here."""
        return description_to_wire(self._model)

    async def Tokenize(  # noqa: N802
        self, request: pb.TokenizeRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.TokenizeResponse:
        """A prompt as token ids."""
        if request.HasField("messages"):
            encoded = await self._intake.tokenize_chat(request.messages)
        else:
            encoded = await self._intake.tokenize(request.text)
        return pb.TokenizeResponse(token_ids=encoded.ids, tokens=encoded.tokens)

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncGenerator[pb.GenerateResponse]:
        """Streams one completion; when the client hangs up, this task is cancelled."""
        job = await self._intake.read(request, context.time_remaining())
        saw = [follow(job) for follow in self._followers]
        async with contextlib.aclosing(self._backend.generate(job)) as events:
            async for event in events:
                for one in saw:
                    one(event)
                yield write_event(event, self._backend.codec.token_name)

    async def Score(  # noqa: N802
        self, request: pb.ScoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ScoreResponse:
        """How likely a continuation is; when the client hangs up, this task is cancelled."""
        job = await self._intake.read_given(request, context.time_remaining())
        response = pb.ScoreResponse(prompt_token_ids=job.prompt_ids)
        scores = await self._score(job)
        for start in range(0, len(scores), _WRITTEN_AT_ONCE):
            response.tokens.extend(
                write_log_prob(one, self._backend.codec.token_name)
                for one in scores[start : start + _WRITTEN_AT_ONCE]
            )
            await asyncio.sleep(0)  # other calls go on
        return response

    async def _score(self, job: Job) -> tuple[TokenLogProb, ...]:
        saw = [follow(job) for follow in self._followers]
        async with contextlib.aclosing(self._backend.generate(job)) as events:
            async for event in events:
                for one in saw:
                    one(event)
                if isinstance(event, Scored):
                    return event.log_probs
        raise OutOfTimeError("the deadline came before the whole continuation was scored")
