"""A small OpenAI-compatible server without a model: real HTTP, scripted text and faults."""

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from harness.clients.openai.dialogue import MARKERS


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What is sent for one request. `texts` are the chunks; `None` is one without a token."""

    texts: tuple[str | None, ...] = ("Answer: bab",)
    finish_reason: str | None = "stop"
    # The stop string that ended it, as vLLM says; None: the server does not.
    stop_reason: str | None = None
    # Token counts; None: the server gives none.
    usage: tuple[int, int] | None = (100, 7)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    delay_s: float = 0.0
    # After the first chunk.
    stall_s: float = 0.0
    # The connection is cut after the chunks.
    is_cut: bool = False
    # Or nothing more comes, and it stays open until the client hangs up.
    is_hung: bool = False
    reasoning: str = ""
    # The bytes of the stream, in place of all that is made of the above; they may have no end.
    stream: Iterable[bytes] | None = None
    # All that is sent, the head too, in place of everything.
    wire: Iterable[bytes] | None = None


Script = Callable[[dict[str, Any], int], Reply]
_LIST: Final = json.dumps({"data": [{"id": "m", "max_model_len": 4096}]})


class FakeOpenAi:
    """Use as an async context. `script` gives the reply to the n-th completion request, from 1."""

    def __init__(self, script: Script, models: Reply | None = None, *, port: int = 0) -> None:
        self.script = script
        self._port = port
        self.models = models or Reply(body=_LIST)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.num_running = 0
        self.max_running = 0
        # Completions are answered while it is set.
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.address = ""
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "FakeOpenAi":
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", self._port)
        self.address = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_running += 1
        self.max_running = max(self.max_running, self.num_running)
        try:
            reply = await self._handle(await _read_request(reader), writer)
            if reply.is_hung:
                await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up
        finally:
            self.num_running -= 1
            writer.close()

    async def _handle(self, request: "Request", writer: asyncio.StreamWriter) -> Reply:
        self.headers.append(request.headers)
        if request.path.endswith("/models"):
            await asyncio.sleep(self.models.delay_s)
            await _send(self.models, writer, request.path)
            return self.models
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        key = request.headers.get("api-key", key)
        asked = {"path": request.path, "query": request.query, "key": key, **request.body}
        self.requests.append(asked)
        reply = self.script(self.requests[-1], len(self.requests))
        await asyncio.sleep(reply.delay_s)
        await self.may_answer.wait()
        await _send(reply, writer, request.path)
        return reply


async def _send(reply: Reply, writer: asyncio.StreamWriter, path: str) -> None:
    if reply.wire is not None:
        await _write(writer, reply.wire)
        return
    if reply.status != 200 or reply.body:
        kind = "application/json" if reply.body.startswith("{") else "text/html"
        head = _head(reply.status, {"content-type": kind, **reply.headers})
        await _write(writer, [head, reply.body.encode()])
        return
    kind = "text/event-stream; charset=utf-8"
    head = _head(200, {"content-type": kind, "transfer-encoding": "chunked", **reply.headers})
    events = encode(events_of(reply, is_chat=path.endswith("/chat/completions")))
    pieces = events if reply.stream is None else reply.stream
    await _write(writer, [head])
    chunks = (b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
    await _write(writer, islice(chunks, 1))
    await asyncio.sleep(reply.stall_s)
    await _write(writer, chunks)
    if not (reply.is_cut or reply.is_hung):
        await _write(writer, [b"0\r\n\r\n"])


async def _write(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
        await writer.drain()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request, read whole."""

    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")
    pairs = (line.partition(": ") for line in lines if line)
    headers = {name.lower(): value for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    path, _, query = first.split()[1].partition("?")
    return Request(path=path, query=query, headers=headers, body=json.loads(body or b"{}"))


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}connection: close\r\n\r\n".encode()


def encode(events: Iterable[Any]) -> list[bytes]:
    """Server-sent events; a text is sent as it is."""
    lines = (event if isinstance(event, str) else json.dumps(event) for event in events)
    return [f"data: {line}\n\n".encode() for line in lines]


def events_of(reply: Reply, *, is_chat: bool) -> list[Any]:
    """What is streamed for it, in either API."""
    events: list[Any] = []
    if reply.reasoning:
        events.append({"choices": [{"delta": {"reasoning_content": reply.reasoning}}]})
    for text in reply.texts:
        piece = {"delta": {"content": text or ""}} if is_chat else {"text": text or ""}
        events.append({"choices": [{**piece, "finish_reason": None}], "usage": None})
    if reply.is_cut or reply.is_hung:
        return events
    if reply.finish_reason is not None:
        last: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
        events.append({"choices": [{**last, "finish_reason": reply.finish_reason}]})
        if reply.stop_reason is not None:
            events[-1]["choices"][0]["stop_reason"] = reply.stop_reason
    if reply.usage is not None:
        prompt, completion = reply.usage
        counts = {"prompt_tokens": prompt, "completion_tokens": completion}
        events.append({"choices": [], "usage": counts})
    return [*events, "[DONE]"]


def text_of(request: Mapping[str, Any]) -> str:
    """All that the model is given."""
    if "prompt" in request:
        return str(request["prompt"])
    return "\n".join(message["content"] for message in request["messages"])


def solve(request: Mapping[str, Any], _number: int) -> Reply:
    """Does assoc_recall as a language model would: it reads the last problem of the prompt."""
    text = text_of(request)
    problem = text.rpartition("[Problem")[2]
    key = _first(r"Question: (\w+)", problem)
    usage = (len(text.split()) + 50, 9)
    if MARKERS.end not in request.get("stop", ()):
        value = _first(rf"Context: .*\b{key} (\w+)", problem)
        texts = ("Let me see.\n", f"Answer: {value}")
        return Reply(texts=(None, *_until(request.get("stop", ()), texts)), usage=usage)
    found = _first(r"<result> (?:\w+ )?(\w+) </result>", problem)
    if not found:
        return Reply(texts=("I look it up: <sea", f"rch> {key}"), usage=usage)
    return Reply(texts=(f"It says\nAnswer: **{found}**",), usage=usage)


def _until(stops: Iterable[str], texts: Iterable[str]) -> Iterable[str]:
    """The texts up to the first stop string; none of them reaches over two texts."""
    for text in texts:
        cut = min((text.partition(stop)[0] for stop in stops), key=len, default=text)
        yield cut
        if cut != text:
            return


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""
