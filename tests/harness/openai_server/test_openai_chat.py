"""POST /v1/chat/completions: the answer is the content, all else is the reasoning."""

from collections.abc import Callable
from typing import Any

import httpx
from harnessapi.inference.v1 import inference_pb2 as pb

from harness.endpoints.request_options import RequestOptions

from .conftest import TEXT, OpenTheFace

Events = Callable[[httpx.Response], list[Any]]
Error = Callable[[httpx.Response], dict[str, Any]]
THOUGHT = "<search> fem </search> fem gik"


async def test_the_content_is_the_answer_and_the_rest_is_reasoning(open_face: OpenTheFace) -> None:
    async with open_face() as face:
        body = (await face.chat()).json()
        assert face.asked.text == TEXT
    [choice] = body["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": " <answer> gik",
        "reasoning_content": THOUGHT,
        "refusal": None,
    }
    assert choice["finish_reason"] == "stop"
    assert choice["recall"]["num_searches"] == 1
    assert body["object"] == "chat.completion"
    assert body["usage"]["total_tokens"] == 16


async def test_without_reasoning_there_is_no_such_field(open_face: OpenTheFace) -> None:
    async with open_face(retrieval=False) as face:
        message = (await face.chat()).json()["choices"][0]["message"]
    assert "reasoning_content" not in message


async def test_a_stream_begins_with_the_role_and_has_the_same_texts(
    open_face: OpenTheFace, events: Events
) -> None:
    async with open_face() as face:
        answer = await face.chat(stream=True, stream_options={"include_usage": True})
        first, *chunks, end, last, done = events(answer)
    assert done is None
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["object"] == "chat.completion.chunk"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == THOUGHT
    assert "".join(delta.get("content", "") for delta in deltas) == " <answer> gik"
    assert end["choices"][0]["delta"] == {}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 6


async def test_with_a_chat_template_the_messages_are_sent(open_face: OpenTheFace) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}],
        },
        # As the openai package gives a reply back.
        {"role": "assistant", "content": "c", "reasoning_content": "d", "tool_calls": None},
        {"role": "user", "content": "e"},
    ]
    async with open_face(has_chat_template=True) as face:
        answer = await face.chat(messages=messages)
        assert answer.status_code == 200, answer.text
        asked = face.asked.messages
    said = [(message.role, message.content) for message in asked.messages]
    assert said == [("system", "Be brief."), ("user", "a b"), ("assistant", "c"), ("user", "e")]


async def test_the_system_prompt_of_the_endpoint_is_there_unless_the_request_has_one(
    open_face: OpenTheFace,
) -> None:
    options = RequestOptions(system_prompt="Be brief.")
    async with open_face(has_chat_template=True, request=options) as face:
        await face.chat("a")
        await face.chat(messages=[{"role": "system", "content": "x"}])
        first, second = (list(message.messages.messages) for message in face.model.generated)
    assert first == [
        pb.Message(role="system", content="Be brief."),
        pb.Message(role="user", content="a"),
    ]
    assert second == [pb.Message(role="system", content="x")]


async def test_without_a_chat_template_only_one_message_of_the_user_is_a_prompt(
    open_face: OpenTheFace, error: Error
) -> None:
    user, system = ({"role": role, "content": "a"} for role in ("user", "system"))
    async with open_face() as face:
        for messages in ([system, user], [user, user], [system]):
            told = error(await face.chat(messages=messages))
            assert (told["status"], told["param"]) == (400, "messages")
            assert "m has no chat template" in told["message"]
        assert face.model.num_calls == 0
