"""Ends a call that raised one of our errors with the status code that the error names.

Also where no servicer hears of a call: bytes that are no message, and more calls than are taken.
"""

import contextlib
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

_log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]

# Under way at once in one service: past them a call is refused, whatever it asks for.
MAX_CALLS: Final = 4096


class StatusError(Exception):
    """The root of a service's errors: its text names the value that was wrong, for the client."""

    status_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class UnreadableError(StatusError):
    """What was sent is no message of the method's type."""

    status_code = grpc.StatusCode.INVALID_ARGUMENT


class TooManyCallsError(StatusError):
    """As many calls are under way as are taken; the call may be made again later."""

    status_code = grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass(frozen=True, kw_only=True, slots=True)
class _Unreadable:
    """Stands for a request that could not be read, until there is a call to end."""

    reason: str


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call that raised a StatusError with its code and text.

    Requests that cannot be read are refused in every service; calls are counted in `service`.
    """

    def __init__(self, service: str, *, max_calls: int = MAX_CALLS) -> None:
        self._prefix = f"/{service}/"
        self._max_calls = max_calls
        self._num_calls = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps methods with one answer, with a stream of answers, and with two streams."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        counted = self._counted if method.startswith(self._prefix) else contextlib.nullcontext
        codecs = {
            "request_deserializer": _forgiving(handler.request_deserializer),
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            guarded = _guard_streams(handler, method)
            return grpc.stream_stream_rpc_method_handler(guarded, **codecs)
        if handler.response_streaming:
            guarded = _guard_stream(handler, method, counted)
            return grpc.unary_stream_rpc_method_handler(guarded, **codecs)
        guarded = _guard_unary(handler, method, counted)
        return grpc.unary_unary_rpc_method_handler(guarded, **codecs)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        if self._num_calls >= self._max_calls:
            raise TooManyCallsError(f"{self._num_calls} calls are under way; no more are taken")
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1


_Counted = Callable[[], contextlib.AbstractContextManager[None]]


def _forgiving(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """gRPC would answer UNKNOWN, with a traceback in the log."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            return _Unreadable(reason=f"{len(data)} bytes that are no message of its type: {error}")

    return read


def _checked(request: Any, method: str) -> Any:
    if isinstance(request, _Unreadable):
        _log.warning("%s was sent %s", method, request.reason)
        raise UnreadableError(f"{method} was sent {request.reason}")
    return request


def _guard_unary(handler: Any, method: str, counted: _Counted) -> Any:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            with counted():
                return await handler.unary_unary(_checked(request, method), context)
        except StatusError as error:
            return await context.abort(error.status_code, str(error))

    return guarded


def _guard_stream(handler: Any, method: str, counted: _Counted) -> Any:
    async def guarded_writer(request: Any, context: Context) -> None:
        try:
            with counted():
                await handler.unary_stream(_checked(request, method), context)
        except StatusError as error:
            await context.abort(error.status_code, str(error))

    async def guarded(request: Any, context: Context) -> AsyncGenerator[Any]:
        try:
            with counted():
                responses = handler.unary_stream(_checked(request, method), context)
                async with contextlib.aclosing(responses):
                    async for response in responses:
                        yield response
        except StatusError as error:
            await context.abort(error.status_code, str(error))

    # Health's Watch writes by itself, where ours are generators.
    return guarded if inspect.isasyncgenfunction(handler.unary_stream) else guarded_writer


def _guard_streams(handler: Any, method: str) -> Any:
    async def guarded(requests: AsyncIterator[Any], context: Context) -> AsyncGenerator[Any]:
        checked = (_checked(request, method) async for request in requests)
        try:
            async for response in handler.stream_stream(checked, context):
                yield response
        except StatusError as error:
            await context.abort(error.status_code, str(error))

    return guarded
