"""InferenceService over any backend. Errors are mapped to status codes by the interceptor."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.description import description_to_wire

from harness_servers.backends.backend import Backend
from harness_servers.generation import MAX_NEW_TOKENS
from harness_servers.rpc.intake import Intake
from harness_servers.rpc.wire import write_event


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    """Reads requests into jobs for the backend, and writes its events."""

    def __init__(self, backend: Backend, *, max_new_tokens: int = MAX_NEW_TOKENS) -> None:
        self._backend = backend
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
        async with contextlib.aclosing(self._backend.generate(job)) as events:
            async for event in events:
                yield write_event(event)

    async def Score(  # noqa: N802
        self, _request: pb.ScoreRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ScoreResponse:
        """GetModel says so by leaving max_top_log_probs out."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server does not score")
