"""Replies that are no stream of OpenAI's events by their label, their shape or their API."""

import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.faults import AttemptError, FilteredError, RefusedError, TransientError
from harness.clients.openai.openai_client import ExternalClient
from harness.endpoints.external import External
from harness.fakes.fake_openai import FakeOpenAi, Reply, encode, events_of
from harness.sample import Prompt

GOOD = events_of(Reply(texts=("Answer: ", "dok")), is_chat=True)
STREAM = b"".join(encode(GOOD))
Errors = type[AttemptError]


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


async def reply_to(*replies: Reply) -> Completion:
    """What comes of them, one after the other."""
    async with FakeOpenAi(lambda _, number: replies[number - 1]) as server:
        it = ExternalClient(server.address, External(model="m"), None)
        try:
            request = CompletionRequest(prompt=Prompt(text="bab"), mode=None, max_new_tokens=9)
            return await it.complete(request)
        finally:
            await it.close()


@pytest.mark.parametrize("kind", ["application/json", "text/html; charset=utf-8", "x"])
@pytest.mark.parametrize(
    "before", [b"", b": hi\n\n", b"\xef\xbb\xbf", b"\n\nevent: x\n", b"id: 1\n"]
)
async def test_events_are_read_whatever_they_are_called(kind: str, before: bytes) -> None:
    stream = before + STREAM
    pieces = [bytes([byte]) for byte in stream[:20]] + [stream[20:]]
    completion = await reply_to(Reply(headers={"content-type": kind}, stream=pieces))
    assert completion.reply_text == "Answer: dok"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("kind", ["text/plain", "application/json", "text/event-stream"])
async def test_a_whole_reply_is_read_whatever_it_is_called(kind: str, indent: int | None) -> None:
    choice = {"message": {"content": "Answer: dok"}, "finish_reason": "stop"}
    whole = json.dumps({"choices": [choice], "usage": None}, indent=indent).encode()
    completion = await reply_to(Reply(headers={"content-type": kind}, stream=[whole]))
    assert completion.reply_text == "Answer: dok"


async def test_a_whole_reply_that_is_cut_off_is_a_fault_of_one_attempt() -> None:
    with pytest.raises(TransientError, match="within an event"):
        await reply_to(Reply(headers={"content-type": "text/plain"}, stream=[b'{\n"choices": [\n']))


@pytest.mark.parametrize("is_raw", [True, False])
@pytest.mark.parametrize("size", [1, 1000])
async def test_deflate_is_read_with_and_without_what_zlib_puts_around_it(
    is_raw: bool, size: int
) -> None:
    bits = -zlib.MAX_WBITS if is_raw else zlib.MAX_WBITS
    packer = zlib.compressobj(wbits=bits)
    packed = packer.compress(STREAM) + packer.flush()
    pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
    completion = await reply_to(Reply(headers={"content-encoding": "deflate"}, stream=pieces))
    assert completion.reply_text == "Answer: dok"


def google(code: int, status: str, message: str = "odd") -> bytes:
    error = {"error": {"code": code, "message": message, "status": status}}
    return json.dumps([error], indent=2).encode()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (429, "RESOURCE_EXHAUSTED", TransientError),
        (503, "UNAVAILABLE", TransientError),
        (400, "INVALID_ARGUMENT", RefusedError),
        (400, "content_filter", FilteredError),
    ],
)
async def test_an_error_in_a_list_is_that_error(code: int, status: str, kind: Errors) -> None:
    said = google(code, status)
    event = b"data: " + json.dumps(json.loads(said)).encode() + b"\n\n"
    for reply in (
        Reply(status=code, body=said.decode()),
        Reply(body=said.decode(), headers={"content-type": "application/json"}),
        Reply(stream=[said]),
        Reply(stream=[event]),
        Reply(stream=[encode(GOOD)[0], event]),
    ):
        with pytest.raises(kind, match=f"HTTP_{code}: odd"):
            await reply_to(reply)


async def test_a_parameter_that_is_refused_in_a_list_is_left_out() -> None:
    message = 'Invalid JSON payload. Unknown name "stream_options": no such field'
    refusal = Reply(status=400, body=google(400, "INVALID_ARGUMENT", message).decode())
    assert (await reply_to(refusal, Reply(texts=("dok",)))).reply_text == "dok"


ANTHROPIC = [
    {"type": "message_start", "message": {"role": "assistant", "usage": {"output_tokens": 1}}},
    {"type": "ping"},
    {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "dok"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
]
OLLAMA = [
    {"model": "m", "message": {"role": "assistant", "content": "dok"}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True},
]
GEMINI = [{"candidates": [{"content": {"parts": [{"text": "dok"}]}}]}]


def named(events: list[dict[str, Any]]) -> bytes:
    pieces = (b"event: %b\n%b" % (one["type"].encode(), encode([one])[0]) for one in events)
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (named(ANTHROPIC), "text/event-stream"),
        (lines(*OLLAMA), "application/x-ndjson"),
        (lines(*OLLAMA), "application/json"),
        (lines({"response": "dok", "done": True}), "application/x-ndjson"),
        (json.dumps(GEMINI[0], indent=2).encode(), "text/plain"),
        (json.dumps(GEMINI, indent=2).encode(), "application/json"),
        (json.dumps(GEMINI, indent=2).encode(), "text/event-stream"),
        (json.dumps(GEMINI * 2).encode(), "text/plain"),
        (encode([{"content": "dok", "stop": True}])[0], "text/event-stream"),
    ],
)
async def test_another_api_is_named_and_refused_for_all(stream: bytes, kind: str) -> None:
    reply = Reply(headers={"content-type": kind}, stream=[stream])
    with pytest.raises(
        RefusedError, match=r"another API than OpenAI's: .*endpoints\.toml"
    ) as caught:
        await reply_to(reply)
    assert not caught.value.is_of_one


@pytest.mark.parametrize("other", [{}, {"type": "ping"}, {"sources": ["a"]}, {"usage": None}])
async def test_an_event_beside_those_of_openai_is_passed_over(other: dict[str, Any]) -> None:
    completion = await reply_to(Reply(stream=encode([other, *GOOD[:1], other, *GOOD[1:]])))
    assert completion.reply_text == "Answer: dok"


async def test_a_stream_of_pings_is_a_fault_of_one_attempt() -> None:
    with pytest.raises(TransientError):
        await reply_to(Reply(stream=encode([{"type": "ping"}, {}])))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("are_apart", [True, False])
async def test_of_choices_side_by_side_one_is_read(first: int, are_apart: bool) -> None:
    def choice(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": {"content": text}, "finish_reason": reason}

    ours, other = first, 1 - first
    pairs: list[list[Callable[[], dict[str, Any]]]]
    pairs = [
        [lambda: choice(ours, "Answer: "), lambda: choice(other, "Or ", "length")],
        [lambda: choice(other, "else"), lambda: choice(ours, "dok", "stop")],
    ]
    made = [[make() for make in pair] for pair in pairs]
    groups = [[one] for pair in made for one in pair] if are_apart else made
    completion = await reply_to(
        Reply(stream=encode([*({"choices": group} for group in groups), "[DONE]"]))
    )
    assert (completion.reply_text, completion.finish_reason) == ("Answer: dok", "stop")


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
@pytest.mark.parametrize("data", [b"upstream gone: {", b'"upstream gone"'])
async def test_an_error_by_name_may_be_any_text(data: bytes, end: bytes) -> None:
    stream = encode(GOOD)[0] + b"event: error\ndata: " + data + end
    with pytest.raises(TransientError, match="HTTP_500: upstream gone") as caught:
        await reply_to(Reply(stream=[stream]))
    assert not caught.value.is_away
