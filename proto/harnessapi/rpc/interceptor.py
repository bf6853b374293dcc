"""Ends a call that raised one of our errors with the status code that the error names."""

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, ClassVar

import grpc
import grpc.aio

Context = grpc.aio.ServicerContext[Any, Any]


class StatusError(Exception):
    """The root of a service's errors: its text names the value that was wrong, for the client."""

    status_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call of `service` that raised a StatusError with its status code and text."""

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
        except StatusError as error:
            return await context.abort(error.status_code, str(error))

    return guarded


def _guard_stream(handler: Any) -> Any:
    async def guarded(request: Any, context: Context) -> AsyncGenerator[Any]:
        responses = handler.unary_stream(request, context)
        try:
            async with contextlib.aclosing(responses):
                async for response in responses:
                    yield response
        except StatusError as error:
            await context.abort(error.status_code, str(error))

    return guarded
