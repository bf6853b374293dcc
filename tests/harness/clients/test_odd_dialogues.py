"""Dialogues with a server that fails between two turns; replies, field by field."""

import asyncio
import random
from typing import Any

import pytest
from harnessapi.values import FinishReason, Mode, Part

from harness.clients.completion import Completion, CompletionRequest, TurnUsage
from harness.clients.connection import Connection
from harness.clients.faults import AttemptError, DeadlineError, RefusedError, TransientError
from harness.clients.openai.chunk import read_chunk
from harness.clients.openai.http_errors import error_from_event
from harness.clients.openai.openai_client import ExternalClient
from harness.clients.pace import Pace
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.external import Api, External
from harness.fakes.fake_openai import FakeOpenAi, Reply, encode
from harness.sample import Prompt
from harness_retrieval.local import LocalRetriever

from .cutting_off import cut_off_once_heard
from .virtual_time import instant_clock

PROMPT = Prompt(
    text="Context: bab dok ; fem gik ;\nQuestion: fem\n",
    searched="bab dok ; fem gik ; ",
    joint="",
    result_start=" <result> ",
    result_end=" </result> ",
)
NUM_SEARCHES = 20
SEARCH = Reply(texts=("<search> f", "em"))
BUSY = Reply(status=429, body="{}")


async def ask(
    server: FakeOpenAi, mode: Mode | None = Mode.DENSE, api: Api = Api.CHAT
) -> Completion:
    external = External(model="m", api=api)
    client = ExternalClient(server.address, external, LocalRetriever())
    connection = Connection(
        endpoint=Endpoint(name="far", address=server.address, external=external),
        replicas=Replicas([Replica(client, pace=Pace(clock=instant_clock()))]),
        model=await client.get_model(),
        server=None,
    )
    asked = CompletionRequest(prompt=PROMPT, mode=mode, max_new_tokens=500)
    try:
        return await connection.complete(asked, deadline_s=600, generator=random.Random(0))
    finally:
        await client.close()


def num_results(request: dict[str, Any]) -> int:
    return str(request.get("messages", request.get("prompt"))).count("<result>")


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize(
    "fault", [BUSY, Reply(texts=("<search> do",), is_cut=True), Reply(finish_reason="abort")]
)
async def test_a_dialogue_goes_on_from_the_turn_that_failed(fault: Reply, api: Api) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        if number % 2:
            return fault
        return SEARCH if num_results(request) < NUM_SEARCHES else Reply(texts=("Answer: gik",))

    async with FakeOpenAi(script) as server:
        completion = await ask(server, api=api)
    assert completion.reply_text.endswith("\nAnswer: gik")
    assert (completion.num_searches, completion.num_attempts) == (NUM_SEARCHES, NUM_SEARCHES + 2)
    assert [num_results(one) for one in server.requests[::2]] == list(range(NUM_SEARCHES + 1))
    assert {search.inserted_text for search in completion.searches} == {"fem gik"}
    assert completion.num_generated_tokens == 7 * (NUM_SEARCHES + 1)


async def test_a_reply_that_the_deadline_cuts_off_is_told_with_what_had_come() -> None:
    async with FakeOpenAi(lambda *_: Reply(texts=("I think",), is_hung=True)) as server:
        client = ExternalClient(server.address, External(model="m"), None)
        asked = CompletionRequest(prompt=PROMPT, mode=None, max_new_tokens=500)
        with pytest.raises(DeadlineError) as caught:
            await cut_off_once_heard(client, asked)
        await client.close()
    assert "I think" in caught.value.raw


async def test_two_of_one_request_at_once_share_nothing() -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        if number in {2, 5}:
            return BUSY
        return SEARCH if num_results(request) < 3 else Reply(texts=("Answer: gik",))

    async with FakeOpenAi(script) as server:
        completions = await asyncio.gather(*(ask(server) for _ in range(3)))
    assert [one.num_searches for one in completions] == [3, 3, 3]


async def test_a_dialogue_that_the_server_finds_too_long_is_cut_off_there() -> None:
    refusal = Reply(status=400, body='{"error": {"message": "maximum context length is 99"}}')

    async with FakeOpenAi(lambda one, _: refusal if num_results(one) == 2 else SEARCH) as server:
        completion = await ask(server)
    assert completion.finish_reason == FinishReason.CONTEXT_FULL
    assert completion.is_truncated
    assert completion.num_searches == 2


@pytest.mark.parametrize("api", Api)
async def test_an_answer_after_a_result_stands_on_a_line_of_its_own(api: Api) -> None:
    async with FakeOpenAi(
        lambda one, _: Reply(texts=("Answer: gik",)) if num_results(one) else SEARCH
    ) as server:
        completion = await ask(server, api=api)
    assert completion.reply_text == "<search> fem</search>\nAnswer: gik"


async def test_a_search_in_the_reasoning_is_read_where_it_was_written() -> None:
    thought = Reply(reasoning="Let me <search> no; look. <search> fem", texts=())
    async with FakeOpenAi(
        lambda one, _: Reply(texts=("Answer: gik",)) if num_results(one) else thought
    ) as server:
        completion = await ask(server)
    assert [(piece.part, piece.text) for piece in completion.transcript] == [
        (Part.REASONING, "Let me <search> no; look. "),
        (Part.QUERY, "<search> fem</search>"),
        (Part.INSERTED, " <result> fem gik </result> "),
        (Part.ANSWER, "Answer: gik"),
    ]
    assert server.requests[1]["messages"][1:] == [
        {"role": "assistant", "content": "<search> fem</search>"},
        {"role": "user", "content": "<result> fem gik </result>"},
    ]


async def test_a_search_that_is_only_thought_of_is_none() -> None:
    reply = Reply(reasoning="I could <search> fem", texts=("Answer: gik",))
    async with FakeOpenAi(lambda *_: reply) as server:
        completion = await ask(server)
    assert completion.num_searches == 0


async def test_what_replies_say_of_themselves_and_took_is_kept_for_every_turn() -> None:
    def event(text: str, reason: str | None, **fields: Any) -> dict[str, Any]:
        return {"choices": [{"delta": {"content": text}, "finish_reason": reason}], **fields}

    def script(request: dict[str, Any], number: int) -> Reply:
        counts: dict[str, Any] = {"prompt_tokens": 10 * number, "completion_tokens": 5}
        if number == 2:
            counts["completion_tokens_details"] = {"reasoning_tokens": 3}
        text = "Answer: gik" if num_results(request) else "<search> fem"
        said = {"model": f"m-{number}", "system_fingerprint": "fp"}
        return Reply(stream=encode([event(text, "stop", usage=counts, **said), "[DONE]"]))

    async with FakeOpenAi(script) as server:
        completion = await ask(server)
    assert completion.usage == (
        TurnUsage(num_prompt_tokens=10, num_generated_tokens=5),
        TurnUsage(num_prompt_tokens=20, num_generated_tokens=5, num_reasoning_tokens=3),
    )
    assert completion.reply_models == ("m-1", "m-2")
    assert completion.system_fingerprints == ("fp",)


@pytest.mark.parametrize(
    ("reason", "is_truncated"),
    [("eos", False), ("STOP", False), ("end_turn", False), ("MAX_TOKENS", True), ("length", True)],
)
async def test_an_end_is_recorded_as_it_came(reason: str, is_truncated: bool) -> None:
    async with FakeOpenAi(lambda *_: Reply(finish_reason=reason)) as server:
        completion = await ask(server, mode=None)
    assert (completion.finish_reason, completion.is_truncated) == (reason, is_truncated)


@pytest.mark.parametrize(
    ("usage", "num_generated"),
    [
        ({"completion_tokens": 7.0}, 7),
        ({"completion_tokens": "7"}, 7),
        ({"completion_tokens": 7.5}, None),
        ({"completion_tokens": -7}, None),
        ({"completion_tokens": True}, None),
        ({"completion_tokens": float("inf")}, None),
        ({"completion_tokens": float("nan")}, None),
        ({"completion_tokens": 10**30}, None),
        ({"completion_tokens": [7]}, None),
        ("7", None),
        (None, None),
    ],
)
def test_a_count_is_a_whole_number_or_none(usage: Any, num_generated: int | None) -> None:
    assert read_chunk({"choices": [], "usage": usage}).num_generated == num_generated


@pytest.mark.parametrize(
    ("content", "text", "reasoning"),
    [
        ([{"type": "text", "text": "a"}, "b", {"type": "output_text", "text": "c"}], "abc", ""),
        ([{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "a"}], "a", "t"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}], "", "t"),
        ({"type": "reasoning", "text": "t"}, "", "t"),
        ([], "", ""),
        (None, "", ""),
    ],
)
def test_text_parts_count_and_thoughts_are_reasoning(
    content: Any, text: str, reasoning: str
) -> None:
    chunk = read_chunk({"choices": [{"delta": {"content": content}}]})
    assert (chunk.text, chunk.reasoning) == (text, reasoning)


@pytest.mark.parametrize(
    "event",
    [
        {"choices": [None]},
        {"choices": "x"},
        {"choices": {"delta": {}}},
        {"choices": [{"delta": "x"}]},
        {"choices": [{"delta": {"content": 7}}]},
        {"choices": [{"delta": {"content": [{"type": "image"}]}}]},
        {"choices": [{"delta": {"content": [{"type": []}]}}]},
        {"choices": [{"text": ["x"]}]},
        {"choices": [{"delta": {}, "finish_reason": 7}]},
    ],
)
def test_what_is_no_reply_is_a_fault_of_it(event: dict[str, Any]) -> None:
    with pytest.raises(AttemptError, match=r"^BAD_RESPONSE: .* cannot be "):
        read_chunk(event)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"code": "rate_limit_exceeded"}, TransientError, "HTTP_429"),
        ({"type": "overloaded_error"}, TransientError, "HTTP_503"),
        ({"type": "server_error", "code": None}, TransientError, "HTTP_500"),
        ({"code": "529"}, TransientError, "HTTP_529"),
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, TransientError, "HTTP_429"),
        ({"status": "UNAVAILABLE"}, TransientError, "HTTP_503"),
        ({"error": {"type": "overloaded_error"}}, TransientError, "HTTP_503"),
        ("oh", TransientError, "HTTP_500"),
        ({"type": "BadRequestError", "code": 400}, RefusedError, "HTTP_400"),
        ({"type": "insufficient_quota", "code": 429}, RefusedError, "HTTP_429"),
    ],
)
def test_an_error_in_a_stream_is_told_by_its_words(error: Any, kind: type, code: str) -> None:
    fault = error_from_event(error)
    assert (type(fault), fault.code) == (kind, code)
