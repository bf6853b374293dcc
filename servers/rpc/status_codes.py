"""Maps domain errors to gRPC status codes, in one place."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

import grpc

from harness_servers.errors import (
    InvalidRequestError,
    QueueFullError,
    ServingError,
    UnavailableError,
)

STATUS_CODES: Final[dict[type[ServingError], grpc.StatusCode]] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    QueueFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
}

Context = grpc.aio.ServicerContext[Any, Any]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call of `service` that raised a ServingError with its status code and text."""

    def __init__(self, service: str) -> None:
        self._prefix = f"/{service}/"

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the methods of the service: calls with one answer, and streams of answers."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(self._prefix):
            return handler
        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_guard_stream(handler), **codecs)
        return grpc.unary_unary_rpc_method_handler(_guard_unary(handler), **codecs)


def _guard_unary(handler: Any) -> Any:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            return await handler.unary_unary(request, context)
        except ServingError as error:
            return await _abort(context, error)

    return guarded


def _guard_stream(handler: Any) -> Any:
    async def guarded(request: Any, context: Context) -> AsyncGenerator[Any]:
        responses = handler.unary_stream(request, context)
        try:
            async with contextlib.aclosing(responses):
                async for response in responses:
                    yield response
        except ServingError as error:
            await _abort(context, error)

    return guarded


async def _abort(context: Context, error: ServingError) -> None:
    code = STATUS_CODES.get(type(error), grpc.StatusCode.INTERNAL)
    await context.abort(code, str(error))
