"""Watches the calls of a server: their ids, how they ended, how long they took."""

import asyncio
import contextlib
import inspect
import re
import time
import uuid
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from harnessapi.observing.traces import answering

# A caller's name for its call: what it keeps of the answer, and what we log, have it both.
REQUEST_ID: Final = "x-request-id"
_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_current: ContextVar[str] = ContextVar("request_id", default="")
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallEnd:
    """One call that is over; `method` as its caller has it: `/package.Service/Method`."""

    method: str
    code: grpc.StatusCode
    seconds: float
    request_id: str


def new_request_id() -> str:
    """For a call that is about to be made."""
    return uuid.uuid4().hex


def current_request_id() -> str:
    """Of the call that is being answered; empty where none is, or nobody watches calls."""
    return _current.get()


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Tells of every call that is over, on the event loop; the first of a server's interceptors.

    A call without a well-formed id of its caller's gets one. Of calls of methods that are not there
    nothing is told.
    """

    def __init__(self, listeners: Sequence[Callable[[CallEnd], None]], *, service: str) -> None:
        """`service`: what the spans of its calls are of."""
        self._listeners = listeners
        self._service = service

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps every kind of method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        given = metadata.get(REQUEST_ID, "")
        is_well = isinstance(given, str) and _WELL_FORMED.fullmatch(given)
        request_id = str(given) if is_well else new_request_id()

        def watched(context: Context) -> contextlib.AbstractContextManager[None]:
            return self._watched(handler_call_details.method, request_id, metadata, context)

        codecs = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.request_streaming:
            streams = _streamed(handler.stream_stream, watched)
            return grpc.stream_stream_rpc_method_handler(streams, **codecs)
        if handler.response_streaming:
            stream = _streamed(handler.unary_stream, watched)
            return grpc.unary_stream_rpc_method_handler(stream, **codecs)
        return grpc.unary_unary_rpc_method_handler(_plain(handler.unary_unary, watched), **codecs)

    @contextlib.contextmanager
    def _watched(
        self, method: str, request_id: str, metadata: Mapping[str, Any], context: Context
    ) -> Iterator[None]:
        # The task is the call's own: nobody else sees the variable.
        _current.set(request_id)
        began_s = time.monotonic()
        code = grpc.StatusCode.OK
        try:
            with answering(self._service, method, metadata, {"request_id": request_id}):
                yield
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except BaseException:
            # Who aborts has set it before.
            code = context.code() or grpc.StatusCode.UNKNOWN
            raise
        finally:
            seconds = time.monotonic() - began_s
            end = CallEnd(method=method, code=code, seconds=seconds, request_id=request_id)
            for listener in self._listeners:
                listener(end)


_Watched = Callable[[Context], contextlib.AbstractContextManager[None]]


def _plain(method: Any, watched: _Watched) -> Any:
    async def call(request: Any, context: Context) -> Any:
        with watched(context):
            return await method(request, context)

    return call


def _streamed(method: Any, watched: _Watched) -> Any:
    """Of a method that gives its answers one by one, or writes them itself."""

    async def writing(request: Any, context: Context) -> None:
        with watched(context):
            await method(request, context)

    async def giving(request: Any, context: Context) -> AsyncGenerator[Any]:
        with watched(context):
            responses: AsyncIterator[Any] = method(request, context)
            async with contextlib.aclosing(responses):  # type: ignore[type-var]
                async for response in responses:
                    yield response

    return giving if inspect.isasyncgenfunction(method) else writing
