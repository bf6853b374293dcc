"""Streams that are other than they should be: each changes the events of a good one into bytes."""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from typing import Any

from harness.fakes.fake_openai import encode

Events = list[Any]


def with_usage(usage: Any) -> Callable[[Events], list[bytes]]:
    """Other counts, whatever they are."""

    def change(events: Events) -> list[bytes]:
        return encode(
            {**event, "usage": usage} if isinstance(event, dict) and event.get("usage") else event
            for event in events
        )

    return change


def with_choices(change: Callable[[Any], Any]) -> Callable[[Events], list[bytes]]:
    """The choices of each event that has some."""

    def changed(events: Events) -> list[bytes]:
        return encode(
            {**event, "choices": change(event["choices"])}
            if isinstance(event, dict) and event["choices"]
            else event
            for event in events
        )

    return changed


def with_choice(**fields: Any) -> Callable[[Events], list[bytes]]:
    """Other fields of each first choice."""
    return with_choices(lambda choices: [{**choices[0], **fields}])


def with_reason(reason: Any) -> Callable[[Events], list[bytes]]:
    """In the place of the last one."""
    return with_choices(
        lambda choices: [
            {**choices[0], "finish_reason": choices[0].get("finish_reason") and reason}
        ]
    )


def before(*events: Any) -> Callable[[Events], list[bytes]]:
    """Some events ahead of the good ones."""
    return lambda good: encode([*events, *good])


def alone(*events: Any) -> Callable[[Events], list[bytes]]:
    """Some events, and nothing else."""
    return lambda _good: encode(events)


def said(text: Any) -> dict[str, Any]:
    """Some text, for both APIs."""
    return {"choices": [{"delta": {"content": text}, "text": text}]}


def in_bytes(change: Callable[[bytes], Iterable[bytes]]) -> Callable[[Events], Iterable[bytes]]:
    """Other bytes for those of the whole stream."""
    return lambda events: change(b"".join(encode(events)))


def parts(choices: Any) -> Any:
    """The content as a list of parts, with a thought before it."""
    content = choices[0].get("delta", {}).get("content")
    if not content:
        return choices
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Answer: no."}]}
    return [{"delta": {"content": [thought, {"type": "text", "text": content}]}}]


def two_lines(events: Events) -> list[bytes]:
    """Each object on two lines of data."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in events]
    return [f"data: {text.replace(', ', f',{chr(10)}data: ', 1)}\n\n".encode() for text in texts]


def raw_separators(events: Events) -> list[bytes]:
    """What Python takes for the ends of lines, as JSON may hold it."""
    event = said("\u2028\u0085 so\n")
    return [f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode(), *encode(events)]


def not_utf8(events: Events) -> list[bytes]:
    """A byte of Latin-1."""
    return [b'data: {"choices": [{"text": "caf\xe9\\n", "delta": {}}]}\n\n', *encode(events)]


def gzip_bomb() -> Iterator[bytes]:
    """100 MiB in 100 KiB."""
    compressor = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)
    yield compressor.compress(b"data: ")
    for piece in repeat(b"x" * 2**20, 100):
        yield compressor.compress(piece)
    yield compressor.flush()


def gzipped(data: bytes) -> list[bytes]:
    """Compressed."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return [compressor.compress(data) + compressor.flush()]


def raw_deflated(data: bytes) -> list[bytes]:
    """Compressed, without what zlib puts around it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return [compressor.compress(data) + compressor.flush()]
