"""Ends a call that raised one of our errors with the status code that the error names.

What cannot be read, and one call too many, end the same way: a status and a line, no traceback.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, ClassVar, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

_log = logging.getLogger(__name__)

# Of one service, health and reflection aside. A thousand wait in the longest queue of ours.
_MAX_CALLS: Final = 4096

Context = grpc.aio.ServicerContext[Any, Any]


class StatusError(Exception):
    """The root of a service's errors: its text names the value that was wrong, for the client."""

    status_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class UnreadableMessageError(StatusError):
    """The bytes are no message; INTERNAL, as gRPC's own servers have it."""


class TooManyCallsError(StatusError):
    """So many calls are under way that this one is not begun."""

    status_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call of `service` that raised a StatusError with its status code and text."""

    def __init__(self, service: str, *, max_calls: int = _MAX_CALLS) -> None:
        self._prefix = f"/{service}/"
        self._max_calls = max_calls
        self._num_calls = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps calls with one answer, and streams of answers: all that our services have."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        method = handler_call_details.method
        is_own = method.startswith(self._prefix)
        codecs = {
            "request_deserializer": _reader(handler.request_deserializer, method),
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler, is_own), **codecs)
        return grpc.unary_unary_rpc_method_handler(self._unary(handler, is_own), **codecs)

    def _unary(self, handler: Any, is_own: bool) -> Any:
        async def guarded(request: Any, context: Context) -> Any:
            try:
                with self._counted(request, is_own):
                    return await handler.unary_unary(request, context)
            except StatusError as error:
                return await context.abort(error.status_code, str(error))

        return guarded

    def _stream(self, handler: Any, is_own: bool) -> Any:
        async def guarded(request: Any, context: Context) -> AsyncGenerator[Any]:
            try:
                with self._counted(request, is_own):
                    responses = handler.unary_stream(request, context)
                    async with contextlib.aclosing(responses):
                        async for response in responses:
                            yield response
            except StatusError as error:
                await context.abort(error.status_code, str(error))

        return guarded

    @contextlib.contextmanager
    def _counted(self, request: Any, is_own: bool) -> Any:
        if isinstance(request, UnreadableMessageError):
            raise request
        if is_own and self._num_calls >= self._max_calls:
            raise TooManyCallsError(f"{self._num_calls} calls are under way; no more are begun")
        self._num_calls += is_own
        try:
            yield
        finally:
            self._num_calls -= is_own


def _reader(deserialize: Any, method: str) -> Any:
    """Gives what cannot be read as the error it is: raised here, it would end as UNKNOWN."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            _log.warning("%s: %d bytes that are no message: %s", method, len(data), error)
            return UnreadableMessageError(f"the request's {len(data)} bytes are no message")

    return read
