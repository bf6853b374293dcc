"""Text as it enters: whole characters, no key; and streams of bytes as events."""

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.faults import AttemptError, TransientError
from harness.clients.incoming import Joiner, Mask, well_formed
from harness.clients.openai.sse import MAX_EVENT_BYTES, MAX_RECENT, EventReader

KEY = 'sk-proj/"x"+é-0815'
ANY_TEXT = st.text(st.characters(codec=None))


@given(st.lists(ANY_TEXT))
def test_pieces_join_to_the_well_formed_whole(pieces: list[str]) -> None:
    joiner = Joiner()
    joined = "".join(map(joiner.add, pieces)) + joiner.end()
    assert joined == well_formed("".join(pieces))
    joined.encode()


def test_two_halves_are_a_character_and_one_is_none() -> None:
    assert well_formed("\ud83d\ude00") == "\U0001f600"
    assert well_formed("a\ud83d \ude00") == "a\ufffd \ufffd"


@pytest.mark.parametrize(
    "shown",
    [
        KEY,
        json.dumps(KEY),
        json.dumps(KEY, ensure_ascii=False),
        json.dumps(json.dumps(KEY)),
        json.dumps(KEY).replace("/", "\\/"),
        "".join(f"\\u{ord(character):04X}" for character in KEY),
        "".join(f"%{byte:02x}" for byte in KEY.encode()),
        "sk-proj%2F%22x%22%2B%C3%A9-0815",
    ],
)
def test_a_key_is_masked_however_it_is_written(shown: str) -> None:
    masked = Mask([KEY])(f"bad key {shown}!")
    assert "***" in masked
    assert "0815" not in masked
    assert "sk" not in masked


def test_a_placeholder_is_no_key() -> None:
    assert Mask(["EMPTY"])("an EMPTY answer") == "an EMPTY answer"
    assert Mask([])("x") == "x"


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def events(*pieces: bytes) -> list[dict[str, Any]]:
    stream = EventReader(pieces_of(*pieces), Mask([]))
    return [event async for event in stream.events()]


EVENTS = [{"a": "\u2028 \u0085 \x1e"}, {"b": 'x\\"'}, {"c": [1, {"d": "é\U0001f600"}]}]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
async def test_a_stream_is_the_same_however_it_is_cut(end: str) -> None:
    lines = ["\ufeff: hi", "event: x", f"data:{json.dumps(EVENTS[0], ensure_ascii=False)}", ""]
    lines += ["data: ", "", 'data: {"b":', f"data: {json.dumps(EVENTS[1]['b'])}}}", "", "id: 7"]
    lines += [f"data: {json.dumps(EVENTS[2], ensure_ascii=False)}", "", "data: [DONE]", "", "x"]
    stream = end.join(lines).encode()
    generator = random.Random(1)
    for _ in range(50):
        cuts = sorted(generator.randrange(len(stream) + 1) for _ in range(generator.randrange(9)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert await events(*pieces) == EVENTS
    assert await events(*(bytes([byte]) for byte in stream)) == EVENTS


async def test_a_last_event_without_an_empty_line_is_read_and_half_of_one_is_no_end() -> None:
    assert await events(b'data: {"a":\ndata: 1}') == [{"a": 1}]
    with pytest.raises(TransientError, match="within an event"):
        await events(b'data: {"a":')


async def test_a_page_of_text_is_no_stream() -> None:
    with pytest.raises(AttemptError, match="no stream of events: Welcome"):
        await events(b"Welcome to nginx!\n")


@pytest.mark.parametrize("filler", [b"x", b": hi\n", b"data: 1,\n"])
async def test_nothing_is_read_for_ever(filler: bytes) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield filler * 1000

    stream = EventReader(endless(), Mask([]))
    with pytest.raises(AttemptError, match="more than 1 MiB without a whole event"):
        _ = [event async for event in stream.events()]
    assert 0 < len(stream.recent) <= MAX_RECENT


async def test_an_event_of_the_bound_is_read() -> None:
    text = "x" * (MAX_EVENT_BYTES - 100)
    assert await events(f'data: {{"a": "{text}"}}\n\n'.encode()) == [{"a": text}]
