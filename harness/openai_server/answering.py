"""Answers one request, whole or as a stream of server-sent events."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from harness.clients.faults import AttemptError
from harness.openai_server.choices import ChoiceEvent, Ended, Span, all_choices
from harness.openai_server.errors import ApiError, answer_for
from harness.openai_server.replies import Envelope, ending, usage
from harness.openai_server.to_wire import AskedPrompt, PromptBody
from harness.openai_server.upstream import Upstream

_DONE: Final = b"data: [DONE]\n\n"
_Events = AsyncGenerator[tuple[int, ChoiceEvent]]
_Value = TypeVar("_Value")


class JsonResponse(Response):
    """`content` as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Its bytes."""
        return msgspec.json.encode(content)


class EventStreamResponse(StreamingResponse):
    """Closes what it streams however it ends: a client that hangs up ends the calls."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """As Starlette's."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            await super().stream_response(send)


class Answering:
    """One request to one endpoint."""

    def __init__(
        self,
        upstream: Upstream,
        envelope: Envelope,
        body: PromptBody,
        prompts: Sequence[AskedPrompt],
    ) -> None:
        self._envelope = envelope
        self._body = body
        self._num_choices = len(prompts)
        self._events = all_choices(upstream, body, prompts)
        self._has_log_probs = body.logprobs is not None and body.logprobs is not False

    async def answer(self, request: Request) -> Response:
        """Raises ApiError; ClientDisconnect where the client hung up before there is an answer."""
        if not self._body.stream:
            return JsonResponse(await unless_hung_up(request, self._whole()))
        # Until something comes of the first prompt it may still be a refusal, with its status.
        first = await unless_hung_up(request, self._next())
        return EventStreamResponse(self._chunks(first))

    async def _next(self) -> tuple[int, ChoiceEvent]:
        try:
            return await anext(self._events)
        except AttemptError as error:
            raise self._told(error) from None

    async def _whole(self) -> dict[str, Any]:
        spans: list[list[Span]] = [[] for _ in range(self._num_choices)]
        ends: list[Ended | None] = [None] * self._num_choices
        try:
            async with aclosing(self._events) as events:
                async for index, event in events:
                    if isinstance(event, Span):
                        spans[index].append(event)
                    elif isinstance(event, Ended):
                        ends[index] = event
        except AttemptError as error:
            raise self._told(error) from None
        whole = [end for end in ends if end is not None]
        choices = [
            {
                "index": index,
                **self._envelope.dialect.whole(spans[index], has_log_probs=self._has_log_probs),
                **ending(end),
            }
            for index, end in enumerate(whole)
        ]
        return self._envelope.whole(choices, whole)

    async def _chunks(self, first: tuple[int, ChoiceEvent]) -> AsyncGenerator[bytes]:
        """Ends without [DONE] where a fault comes midway: its last event is the error."""
        ends: list[Ended] = []
        extra = {"usage": None} if self._body.includes_usage else {}
        opening = self._envelope.dialect.opening()
        try:
            async with aclosing(self._events) as events:
                if opening is not None:
                    for index in range(self._num_choices):
                        yield self._event({"index": index, **opening}, extra)
                async for index, event in _chained(first, events):
                    choice = self._choice(event)
                    if isinstance(event, Ended):
                        ends.append(event)
                    if choice is not None:
                        yield self._event({"index": index, **choice}, extra)
        except AttemptError as error:
            yield _data(self._told(error).body())
            return
        if self._body.includes_usage:
            yield self._event(None, {"usage": usage(ends)})
        yield _DONE

    def _choice(self, event: ChoiceEvent) -> dict[str, Any] | None:
        dialect = self._envelope.dialect
        match event:
            case Span():
                piece = dialect.piece(event, has_log_probs=self._has_log_probs)
                return None if piece is None else {**piece, "finish_reason": None}
            case Ended():
                return {**dialect.closing(), **ending(event)}
        return None

    def _event(self, choice: dict[str, Any] | None, rest: dict[str, Any]) -> bytes:
        return _data(self._envelope.chunk(choice, **rest))

    def _told(self, error: AttemptError) -> ApiError:
        return answer_for(error, prompt=self._envelope.dialect.prompt_field)


async def unless_hung_up(request: Request, work: Coroutine[Any, Any, _Value]) -> _Value:
    """What comes of `work`, which is cancelled when the client hangs up: then ClientDisconnect."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chained(first: tuple[int, ChoiceEvent], rest: _Events) -> _Events:
    yield first
    async for item in rest:
        yield item


def _data(value: Any) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
