"""What OpenAI-compatible servers send in the place of a plain reply, by name: a fake for each.

An oddity is made of a good reply, and says what is to come of it. Those of a search need a request
that can make one.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import repeat
from typing import Any, Final

from harness.clients.openai.dialogue import MARKERS
from harness.fakes.fake_openai import Reply, Script, encode, events_of, solve
from harness.fakes.odd_streams import (
    Events,
    alone,
    before,
    gzip_bomb,
    gzipped,
    in_bytes,
    not_utf8,
    parts,
    raw_deflated,
    raw_separators,
    said,
    two_lines,
    with_choice,
    with_choices,
    with_reason,
    with_usage,
)


class Cost(StrEnum):
    """What one such reply comes to: nothing, another attempt, or its sample."""

    READ = "read"
    RETRIED = "retried"
    ERRORED = "errored"


@dataclass(frozen=True, kw_only=True, slots=True)
class Oddity:
    """`make` takes the request and the good reply to it."""

    summary: str
    cost: Cost
    make: Callable[[Mapping[str, Any], Reply], Reply]


def odd_script(name: str, *, every: int = 1, good: Script = solve) -> Script:
    """Every n-th completion request gets the oddity of this name. Raises KeyError."""
    oddity = ODDITIES[name]

    def script(request: dict[str, Any], number: int) -> Reply:
        reply = good(request, number)
        return reply if number % every else oddity.make(request, reply)

    return script


def _streamed(summary: str, change: Callable[[Events], Iterable[bytes]], cost: Cost) -> Oddity:
    """Other bytes of the same events."""

    def make(request: Mapping[str, Any], good: Reply) -> Reply:
        return replace(good, stream=change(events_of(good, is_chat="messages" in request)))

    return Oddity(summary=summary, cost=cost, make=make)


def _compressed(
    summary: str, encoding: str, compress: Callable[[bytes], Iterable[bytes]]
) -> Oddity:
    """The same bytes under an encoding that nobody asked for."""

    def make(request: Mapping[str, Any], good: Reply) -> Reply:
        events = b"".join(encode(events_of(good, is_chat="messages" in request)))
        return replace(good, headers={"Content-Encoding": encoding}, stream=compress(events))

    return Oddity(summary=summary, cost=_READ, make=make)


def _whole(request: Mapping[str, Any], good: Reply) -> Reply:
    text = "".join(piece or "" for piece in good.texts)
    message = {"message": {"role": "assistant", "content": text}} if "messages" in request else {}
    choice = {"text": text, **message, "finish_reason": good.finish_reason}
    prompt, completion = good.usage or (0, 0)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    return Reply(body=json.dumps({"choices": [choice], "usage": usage}))


def _in_reasoning(_request: Mapping[str, Any], good: Reply) -> Reply:
    """What would be a search is a thought; an answer stays one."""
    text = "".join(piece or "" for piece in good.texts)
    return replace(good, reasoning=text, texts=()) if MARKERS.start in text else good


def _answer_alone(_request: Mapping[str, Any], good: Reply) -> Reply:
    """Nothing before the label."""
    text = "".join(piece or "" for piece in good.texts)
    answer = text[text.find("Answer:") :] if "Answer:" in text else text
    return replace(good, texts=(answer,))


def _status(status: int, body: str = '{"error": {"message": "odd"}}', **headers: str) -> Any:
    return lambda _request, _good: Reply(status=status, body=body, headers=headers)


def _key(request: Mapping[str, Any]) -> str:
    return str(request["key"])


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def _spelt_key(request: Mapping[str, Any], good: Reply) -> Reply:
    """In what the model writes, letter by letter."""
    return replace(good, texts=("You sent ", *_key(request), ".\n", *good.texts))


def _key_in_error(request: Mapping[str, Any], _good: Reply) -> Reply:
    line = f'data: {{"error": {{"type": "odd", "code": 499, "message": "{_escaped(_key(request))} '
    return Reply(stream=[f'{line}{_key(request)}"}}}}\n\n'.encode()])


def _key_in_location(request: Mapping[str, Any], _good: Reply) -> Reply:
    return Reply(status=302, headers={"Location": f"/login?key={_percent(_key(request))}"})


_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
_OTHER: Final = {"index": 1, "delta": {"content": "No."}, "text": "No.", "finish_reason": "stop"}
_READ, _RETRIED, _ERRORED = Cost.READ, Cost.RETRIED, Cost.ERRORED

ODDITIES: Final[Mapping[str, Oddity]] = {
    # Counts.
    "usage-floats": _streamed(
        "counts like 7.0", with_usage({"prompt_tokens": 900.0, "completion_tokens": 9.0}), _READ
    ),
    "usage-strings": _streamed(
        "counts as texts", with_usage({"prompt_tokens": "900", "completion_tokens": "9"}), _READ
    ),
    "usage-halves": _streamed(
        "counts that are no whole numbers: NaN, -1, true, 1e30",
        with_usage({"prompt_tokens": True, "completion_tokens": -1, "total": float("nan")}),
        _READ,
    ),
    "usage-text": _streamed("usage is a text", with_usage("much"), _READ),
    # Texts.
    "parts": _streamed("content is a list of parts", with_choices(parts), _READ),
    "split-emoji": _streamed(
        "half of a character in each of two pieces",
        before(said("\ud83d"), said("\ude00\n")),
        _READ,
    ),
    "lone-half": _streamed("half of a character", before(said("\ude00 \ud83d\n")), _READ),
    "control-sequences": _streamed(
        "names and texts that would paint a terminal",
        before({**said("\x1b[2J\x07\n"), "model": "\x1b]0;m\x07", "system_fingerprint": "\x9b"}),
        _READ,
    ),
    "not-utf-8": _streamed("a byte of Latin-1", not_utf8, _READ),
    # Server-sent events.
    "separators": _streamed("U+2028 and U+0085 inside JSON", raw_separators, _READ),
    "empty-data": _streamed("data: without any", before("", "", {"choices": []}), _READ),
    "two-data-lines": _streamed("one object on two lines", two_lines, _READ),
    "cr": _streamed("lines end at CR", in_bytes(lambda d: [d.replace(b"\n", b"\r")]), _READ),
    "crlf": _streamed("at CRLF", in_bytes(lambda d: [d.replace(b"\n", b"\r\n")]), _READ),
    "no-empty-lines": _streamed(
        "no line between events", in_bytes(lambda d: [d.replace(b"\n\n", b"\n")]), _READ
    ),
    "byte-order-mark": _streamed("U+FEFF first", in_bytes(lambda d: [b"\xef\xbb\xbf" + d]), _READ),
    "byte-by-byte": _streamed(
        "pieces of one byte", in_bytes(lambda d: (bytes([byte]) for byte in d)), _READ
    ),
    "comments": _streamed(
        "comments, names and retry", in_bytes(lambda d: [b": hi\nevent: x\nretry: 3\n\n", d]), _READ
    ),
    "not-streamed": Oddity(summary="one JSON object", cost=_READ, make=_whole),
    "gzip": _compressed("compressed unasked", "gzip", gzipped),
    "raw-deflate": _compressed("deflate without zlib around it", "deflate", raw_deflated),
    "called-json": Oddity(
        summary="events under the name of JSON",
        cost=_READ,
        make=lambda _, good: replace(good, headers={"content-type": "application/json"}),
    ),
    "side-by-side": _streamed(
        "another choice beside ours", with_choices(lambda c: [{**c[0], "index": 0}, _OTHER]), _READ
    ),
    # Ends.
    "empty-reasons": _streamed('finish_reason is ""', with_choice(finish_reason=""), _READ),
    "eos": _streamed("the last finish_reason is eos", with_reason("eos"), _READ),
    "tool-calls": _streamed("... is tool_calls", with_reason("tool_calls"), _READ),
    "aborted": _streamed("... is abort", with_reason("abort"), _RETRIED),
    "no-reason": _streamed("there is none", with_choice(finish_reason=None), _RETRIED),
    # Searches.
    "answer-alone": Oddity(summary="the label comes first", cost=_READ, make=_answer_alone),
    "search-in-reasoning": Oddity(
        summary="a search that the server takes for reasoning", cost=_READ, make=_in_reasoning
    ),
    # Errors in a stream.
    "rate-limit-in-stream": _streamed(
        "rate_limit_exceeded after some text",
        alone(said("I"), {"error": {"code": "rate_limit_exceeded", "message": "slow"}}),
        _RETRIED,
    ),
    "overloaded-in-stream": _streamed(
        "overloaded_error",
        alone({"type": "error", "error": {"type": "overloaded_error"}}),
        _RETRIED,
    ),
    "server-error-in-stream": _streamed(
        "server_error", alone({"error": {"type": "server_error", "code": None}}), _RETRIED
    ),
    "status-as-text": _streamed("code is '503'", alone({"error": {"code": "503"}}), _RETRIED),
    "error-as-text": _streamed("an error is a text", alone({"error": "oh"}), _RETRIED),
    "error-by-name": _streamed(
        "event: error", in_bytes(lambda _: [b'event: error\ndata: {"message": "oh"}\n\n']), _RETRIED
    ),
    "error-by-name-as-text": _streamed(
        "... and text that is no JSON",
        in_bytes(lambda _: [b"event: error\ndata: upstream gone\n\n"]),
        _RETRIED,
    ),
    "error-in-a-list": _streamed(
        "an error in a list", alone([{"error": {"code": 429, "message": "slow"}}]), _RETRIED
    ),
    "too-long-in-stream": _streamed(
        "context_length_exceeded", alone({"error": {"code": "context_length_exceeded"}}), _ERRORED
    ),
    # Statuses.
    **{
        f"http-{status}": Oddity(summary="a fault", cost=_RETRIED, make=_status(status))
        for status in (408, 425, 429, 500, 503, 520, 529)
    },
    "http-400": Oddity(summary="a refusal of one request", cost=_ERRORED, make=_status(400)),
    "http-501": Oddity(summary="a fault that stays", cost=_ERRORED, make=_status(501)),
    "redirect": Oddity(summary="to a login", cost=_ERRORED, make=_status(307, location="/login")),
    "redirect-nowhere": Oddity(
        summary="to what is no address", cost=_RETRIED, make=_status(307, location="http://[::1")
    ),
    "page": Oddity(
        summary="a page with status 200", cost=_ERRORED, make=lambda *_: Reply(body="<html>")
    ),
    # No reply at all.
    "other-api": _streamed(
        "events of Anthropic's",
        alone({"type": "message_start", "message": {"role": "x"}}),
        _ERRORED,
    ),
    "not-json": _streamed("data is no JSON", alone("{'a': 1}"), _ERRORED),
    "no-object": _streamed("data is a list", alone("[1]"), _ERRORED),
    "deep-json": _streamed("a hundred thousand brackets", alone("[" * 100_000), _ERRORED),
    "choices-null": _streamed("choices is [null]", with_choices(lambda _: [None]), _ERRORED),
    "choices-object": _streamed("choices is {...}", with_choices(lambda c: c[0]), _ERRORED),
    "delta-text": _streamed("delta is a text", with_choice(delta="Answer: x"), _ERRORED),
    "content-number": _streamed(
        "content is 7", with_choice(delta={"content": 7}, text=7), _ERRORED
    ),
    "unknown-part": _streamed(
        "a part that is no text",
        alone(said([{"type": "audio"}])),
        _ERRORED,
    ),
    # Bounds.
    "gzip-bomb": Oddity(
        summary="100 MiB in 100 KiB",
        cost=_ERRORED,
        make=lambda _, good: replace(
            good, headers={"Content-Encoding": "gzip"}, stream=gzip_bomb()
        ),
    ),
    "unknown-encoding": Oddity(
        summary="compressed in a way that was not asked for",
        cost=_ERRORED,
        make=lambda _, good: replace(
            good, headers={"Content-Encoding": "br"}, stream=[b"\x0b\x02\x80"]
        ),
    ),
    "endless-line": _streamed("a line without end", lambda _: repeat(b"x" * 65536), _ERRORED),
    "endless-comments": _streamed(
        "nothing, without end", lambda _: repeat(b": hi\n" * 4096), _ERRORED
    ),
    "hundred-megabytes": _streamed(
        "100 MB of text", lambda _: repeat(encode([said("word " * 4000)])[0], 5000), _ERRORED
    ),
    # Broken HTTP.
    "long-header": Oddity(
        summary="a header of 1 MB",
        cost=_RETRIED,
        make=lambda *_: Reply(wire=[_OK + b"x-odd: ", b"a" * 10**6, b"\r\n\r\n"]),
    ),
    "closed-in-a-chunk": Oddity(
        summary="closed within a chunk",
        cost=_RETRIED,
        make=lambda *_: Reply(
            wire=[_OK + b'transfer-encoding: chunked\r\n\r\nff\r\ndata: {"choices"']
        ),
    ),
    "no-http": Oddity(
        summary="no HTTP", cost=_RETRIED, make=lambda *_: Reply(wire=[b"SSH-2.0-OpenSSH_9.6\r\n"])
    ),
    # The key, which a server must never bring into a run.
    "key-in-text": Oddity(summary="spelt out by the model", cost=_READ, make=_spelt_key),
    "key-in-error": Oddity(summary="also escaped", cost=_ERRORED, make=_key_in_error),
    "key-in-location": Oddity(summary="percent-encoded", cost=_ERRORED, make=_key_in_location),
}
