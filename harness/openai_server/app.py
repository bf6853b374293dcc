"""The routes of the face, over endpoints that are open."""

import time
from collections.abc import Mapping
from typing import Any, Final

from harnessapi.values import ModelDescription
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from harness.errors import unknown_name
from harness.openai_server.answering import Answering, JsonResponse
from harness.openai_server.bodies import ChatBody, CompletionBody, read_body
from harness.openai_server.errors import ApiError, refused
from harness.openai_server.replies import ChatDialect, CompletionDialect, Envelope
from harness.openai_server.to_wire import chat_prompt
from harness.openai_server.upstream import Upstream

# As much as one gRPC message holds; and the prompts of one request.
_MAX_BODY_BYTES: Final = 64 * 2**20
_MAX_PROMPTS: Final = 2048
# Nobody is there to read it: as nginx logs a client that hung up.
_HUNG_UP: Final = 499


class Face:
    """`upstreams` by the name that a request gives as its model."""

    def __init__(self, upstreams: Mapping[str, Upstream]) -> None:
        self._upstreams = upstreams
        self._began = int(time.time())

    def app(self) -> Starlette:
        """As an ASGI application."""
        return Starlette(
            routes=[
                Route("/health", self._health),
                Route("/v1/models", self._list_models),
                Route("/v1/models/{name:path}", self._show_model),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
            ],
            exception_handlers={
                ApiError: _tell,
                HTTPException: _tell_http,
                ClientDisconnect: _tell_nobody,
                Exception: _tell_fault,
            },
        )

    async def _health(self, _request: Request) -> Response:
        """503 with the reasons where an endpoint is not serving."""
        causes = {
            name: one.client.cause
            for name, one in self._upstreams.items()
            if not await one.client.is_serving()
        }
        status = "unhealthy" if causes else "ok"
        return JsonResponse({"status": status, "causes": causes}, 503 if causes else 200)

    async def _list_models(self, _request: Request) -> Response:
        models = [self._model(one) for one in self._upstreams.values()]
        return JsonResponse({"object": "list", "data": models})

    async def _show_model(self, request: Request) -> Response:
        return JsonResponse(self._model(self._find(request.path_params["name"])))

    async def _complete(self, request: Request) -> Response:
        body = read_body(await _read(request), CompletionBody)
        upstream, prompts = self._find(body.model), body.prompts
        if len(prompts) > _MAX_PROMPTS:
            raise refused("prompt", f"{len(prompts)} prompts; at most {_MAX_PROMPTS} are taken")
        envelope = Envelope(
            dialect=CompletionDialect(), endpoint=upstream.name, model=upstream.model
        )
        return await Answering(upstream, envelope, body, prompts).answer(request)

    async def _chat(self, request: Request) -> Response:
        body = read_body(await _read(request), ChatBody)
        upstream = self._find(body.model)
        envelope = Envelope(dialect=ChatDialect(), endpoint=upstream.name, model=upstream.model)
        prompts = [chat_prompt(body, upstream)]
        return await Answering(upstream, envelope, body, prompts).answer(request)

    def _find(self, name: str) -> Upstream:
        if name not in self._upstreams:
            message = str(unknown_name("model", name, self._upstreams))
            raise ApiError(404, message, param="model", code="model_not_found")
        return self._upstreams[name]

    def _model(self, upstream: Upstream) -> dict[str, Any]:
        """`max_model_len` as vLLM says it; what follows is ours."""
        model: ModelDescription = upstream.model
        return {
            "id": upstream.name,
            "object": "model",
            "created": self._began,
            "owned_by": "recall-harness",
            "max_model_len": model.context_limit,
            "checkpoint": model.name,
            "checkpoint_digest": model.checkpoint_digest,
            "family": model.family,
            "retrieval": upstream.mode,
            "max_top_logprobs": model.max_top_log_probs,
        }


async def _read(request: Request) -> bytes:
    """The body. Raises ApiError for one that is longer than any is."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_BODY_BYTES:
            raise ApiError(413, f"the body is over {_MAX_BODY_BYTES} bytes long")
    return bytes(data)


# Starlette looks a handler up by the kind of error.
async def _tell(_request: Request, error: Any) -> Response:
    told: ApiError = error
    return JsonResponse(told.body(), told.status, told.headers)


async def _tell_http(_request: Request, error: Any) -> Response:
    """Of a path that is not there, or a method that it does not take."""
    found: HTTPException = error
    told = ApiError(found.status_code, found.detail)
    return JsonResponse(told.body(), told.status, found.headers)


async def _tell_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=_HUNG_UP)


async def _tell_fault(_request: Request, error: Exception) -> Response:
    told = ApiError(500, f"a fault of this server: {error!r}", code="internal_error")
    return JsonResponse(told.body(), told.status)
