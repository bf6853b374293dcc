"""The client of OpenAI-compatible servers, against a real one in this process."""

import asyncio
import random
from typing import Any

import pytest
from harnessapi.values import FinishReason, Mode, Part

from harness.clients.clock import Backoff, Clock
from harness.clients.completion import Completion, CompletionRequest
from harness.clients.connection import Connection, connect
from harness.clients.faults import AttemptError, DeadlineError, RefusedError, TransientError
from harness.clients.openai.http_errors import retry_after_s
from harness.clients.openai.openai_client import ExternalClient
from harness.clients.pace import Pace
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.external import Api, External
from harness.errors import InputError
from harness.fakes.fake_openai import FakeOpenAi, Reply
from harness.sample import Prompt
from harness_retrieval.local import LocalRetriever

PROMPT = Prompt(
    text="[Problem 1]\nContext: bab dok ; fem gik ;\nQuestion: fem\n",
    searched="bab dok ; fem gik ; ",
    joint="",
    result_start=" <result> ",
    result_end=" </result> ",
    stops=("\n[Problem",),
)
WORDS = Prompt(text="assoc_recall ; bab dok ; fem gik ; <dense> fem")
SEARCHING = (Reply(texts=("I look: ", "<search> f", "em")), Reply(texts=(" so\nAnswer: gik",)))


def in_turn(*replies: Reply) -> Any:
    return lambda _request, number: replies[min(number, len(replies)) - 1]


def request(
    mode: Mode | None = None, prompt: Prompt = PROMPT, limit: int = 50
) -> CompletionRequest:
    return CompletionRequest(prompt=prompt, mode=mode, max_new_tokens=limit)


def client_of(server: FakeOpenAi, api: Api = Api.CHAT, **options: Any) -> ExternalClient:
    external = External(model="m", api=api, **options)
    return ExternalClient(server.address, external, LocalRetriever())


async def complete(
    server: FakeOpenAi, asked: CompletionRequest, api: Api = Api.CHAT, timeout_s: float = 600
) -> Completion:
    client = client_of(server, api)
    try:
        return await client.complete(asked, timeout_s=timeout_s)
    finally:
        await client.close()


async def attempts(
    server: FakeOpenAi, deadline_s: float = 600, clock: Clock | None = None
) -> Completion | AttemptError:
    client = client_of(server)
    connection = Connection(
        endpoint=Endpoint(name="far", address=server.address, external=External(model="m")),
        replicas=Replicas([Replica(client, pace=Pace(clock=clock))]),
        model=await client.get_model(),
        server=None,
        backoff=Backoff(initial_s=0.01, max_s=0.02),
    )
    try:
        return await connection.complete(
            request(), deadline_s=deadline_s, generator=random.Random(0)
        )
    except AttemptError as error:
        return error
    finally:
        await client.close()


@pytest.mark.parametrize("api", Api)
async def test_a_completion_is_its_text_with_the_servers_token_counts(api: Api) -> None:
    async with FakeOpenAi(in_turn(Reply(texts=("Answer", ": bab")))) as server:
        completion = await complete(server, request(), api)
    assert completion.reply_text == "Answer: bab"
    assert completion.finish_reason == FinishReason.STOP
    assert (completion.num_prompt_tokens, completion.num_generated_tokens) == (100, 7)
    assert not completion.are_counts_estimated
    [sent] = server.requests
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0.0, 50)
    assert sent["stream_options"] == {"include_usage": True}


async def test_chat_gets_one_message_and_completions_the_text_with_its_stops() -> None:
    async with FakeOpenAi(in_turn(Reply())) as server:
        await complete(server, request(), Api.CHAT)
        await complete(server, request(), Api.COMPLETIONS)
    chat, plain = server.requests
    assert chat["messages"] == [{"role": "user", "content": PROMPT.text}]
    assert "stop" not in chat
    assert plain["prompt"] == PROMPT.text
    assert plain["stop"] == ["\n[Problem"]


async def test_without_the_servers_counts_each_piece_is_a_token_and_it_is_said() -> None:
    async with FakeOpenAi(in_turn(Reply(texts=(None, "a", "b", "c"), usage=None))) as server:
        completion = await complete(server, request())
    assert (completion.num_generated_tokens, completion.are_counts_estimated) == (3, True)


async def test_an_empty_first_chunk_is_not_the_first_token() -> None:
    async with FakeOpenAi(in_turn(Reply(texts=(None, None)))) as server:
        assert (await complete(server, request())).times.ttft_ms is None


async def test_reasoning_that_comes_apart_is_kept_apart() -> None:
    reply = Reply(reasoning="Answer: dok", texts=("Answer: gik",))
    async with FakeOpenAi(in_turn(reply)) as server:
        completion = await complete(server, request())
    assert [piece.part for piece in completion.transcript] == [
        Part.REASONING,
        Part.ANSWER,
    ]
    assert completion.reply_text == "Answer: gik"
    assert completion.times.ttft_ms is not None
    assert completion.times.token_intervals is not None


async def test_length_is_a_truncation() -> None:
    async with FakeOpenAi(in_turn(Reply(finish_reason="length"))) as server:
        completion = await complete(server, request())
    assert completion.finish_reason == FinishReason.LENGTH


@pytest.mark.parametrize("api", Api)
async def test_a_search_is_made_here_and_the_model_goes_on(api: Api) -> None:
    async with FakeOpenAi(in_turn(*SEARCHING)) as server:
        completion = await complete(server, request(Mode.DENSE), api)
    assert [(piece.part, piece.text) for piece in completion.transcript] == [
        ("answer", "I look: "),
        ("query", "<search> fem</search>"),
        ("inserted", " <result> fem gik </result> "),
        ("answer", " so\nAnswer: gik"),
    ]
    [search] = completion.searches
    assert (search.query, search.outcome, search.inserted_text) == ("fem", "found", "fem gik")
    assert (completion.num_searches, completion.num_generated_tokens) == (1, 14)
    first, second = server.requests
    assert "</search>" in first["stop"]
    assert (first["max_tokens"], second["max_tokens"]) == (50, 43)


async def test_text_is_gone_on_with_and_messages_are_answered() -> None:
    async with FakeOpenAi(in_turn(*SEARCHING, *SEARCHING)) as server:
        await complete(server, request(Mode.DENSE), Api.COMPLETIONS)
        server.script = lambda asked, _number: SEARCHING["<result>" in str(asked["messages"])]
        await complete(server, request(Mode.DENSE), Api.CHAT)
    written = "I look: <search> fem</search>"
    assert server.requests[1]["prompt"] == f"{PROMPT.text}{written} <result> fem gik </result> "
    assert server.requests[3]["messages"][1:] == [
        {"role": "assistant", "content": written},
        {"role": "user", "content": "<result> fem gik </result>"},
    ]


async def test_symbolic_words_are_joined_by_one_space() -> None:
    replies = (Reply(texts=("<search> fem",)), Reply(texts=("<answer> gik",)))
    async with FakeOpenAi(in_turn(*replies)) as server:
        completion = await complete(server, request(Mode.DENSE, WORDS), Api.COMPLETIONS)
    assert server.requests[1]["prompt"] == f"{WORDS.text} <search> fem </search> fem gik"
    assert completion.generated_text.split() == ["<search>", "fem", "</search>", "<answer>", "gik"]


async def test_what_a_server_writes_past_the_end_marker_is_dropped() -> None:
    ahead = Reply(texts=("<search> fem </search> <result> dok </result>\nAnswer: dok",))
    async with FakeOpenAi(in_turn(ahead, SEARCHING[1])) as server:
        completion = await complete(server, request(Mode.DENSE))
    assert "dok" not in completion.reply_text
    assert completion.are_counts_estimated


async def test_searches_look_at_the_asked_context_alone() -> None:
    example = Prompt(text=f"fem hob ; {PROMPT.text}", searched=PROMPT.searched, joint="")
    query = Reply(texts=(r"<search> fem (\S+) ",))
    async with FakeOpenAi(in_turn(query, Reply())) as server:
        completion = await complete(server, request(Mode.REGEX, example))
    assert completion.searches[0].inserted_text == "gik"


async def test_a_stop_string_inside_a_query_is_none_where_the_server_says_which_it_was() -> None:
    inside = Reply(texts=("<search> fem = gik\nAnswer: gik\n",), stop_reason="\n[Problem")
    at_the_end = Reply(texts=(" 5]",), stop_reason="</search>")
    replies = (inside, at_the_end, Reply(texts=("\nAnswer: dok\n",), stop_reason="\n[Problem"))
    async with FakeOpenAi(in_turn(*replies)) as server:
        completion = await complete(server, request(Mode.REGEX), Api.COMPLETIONS)
    query = "<search> fem = gik\nAnswer: gik\n\n[Problem"
    assert server.requests[1]["prompt"] == PROMPT.text + query
    assert [search.query for search in completion.searches] == [
        "fem = gik\nAnswer: gik\n\n[Problem 5]"
    ]
    assert completion.transcript[-1].text == "\nAnswer: dok\n"
    assert completion.finish_reason == FinishReason.STOP


@pytest.mark.parametrize("usage", [(100, 7), (100, 0), None])
async def test_a_query_that_never_ends_takes_all_tokens_and_no_more(
    usage: tuple[int, int] | None,
) -> None:
    inside = Reply(texts=("<search> fem",), stop_reason="\n[Problem", usage=usage)
    async with FakeOpenAi(in_turn(inside)) as server:
        asked = request(Mode.REGEX, limit=20)
        completion = await complete(server, asked, Api.COMPLETIONS)
    assert completion.finish_reason == FinishReason.LENGTH
    assert not completion.searches
    assert len(server.requests) <= 20


async def test_searches_end_with_the_tokens() -> None:
    async with FakeOpenAi(in_turn(SEARCHING[0])) as server:
        completion = await complete(server, request(Mode.DENSE, limit=20))
    assert completion.finish_reason == FinishReason.LENGTH
    assert [sent["max_tokens"] for sent in server.requests] == [20, 13, 6]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 529])
async def test_a_busy_server_is_asked_again(status: int) -> None:
    async with FakeOpenAi(in_turn(Reply(status=status, body="{}"), Reply())) as server:
        done = await attempts(server)
    assert isinstance(done, Completion)
    assert done.num_attempts == 2
    assert done.faults[0].startswith(f"HTTP_{status}")


async def test_retry_after_is_honoured() -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    busy = Reply(status=429, headers={"Retry-After": "50"}, body='{"error": {"message": "slow"}}')
    async with FakeOpenAi(in_turn(busy, Reply())) as server:
        done = await attempts(server, clock=Clock(sleep=sleep))
    assert len(waits) == 1
    assert 50 < waits[0] < 51
    assert done.faults == ("HTTP_429: slow",)


async def test_who_wants_more_time_than_there_is_is_not_asked_again() -> None:
    busy = Reply(status=429, headers={"Retry-After": "3600"}, body="{}")
    async with FakeOpenAi(in_turn(busy)) as server:
        done = await attempts(server, deadline_s=600)
    assert isinstance(done, TransientError)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_a_permanent_refusal_is_told_at_once_in_the_servers_words(status: int) -> None:
    body = '{"error": {"message": "the model is on holiday", "code": 7}}'
    async with FakeOpenAi(in_turn(Reply(status=status, body=body))) as server:
        done = await attempts(server)
    assert isinstance(done, RefusedError)
    assert str(done) == f"HTTP_{status}: the model is on holiday"
    assert len(server.requests) == 1


async def test_a_fault_of_the_server_is_an_error_and_not_asked_again() -> None:
    async with FakeOpenAi(in_turn(Reply(status=501, body="{}"))) as server:
        done = await attempts(server)
    assert type(done) is AttemptError
    assert len(server.requests) == 1


@pytest.mark.parametrize("broken", [Reply(is_cut=True), Reply(finish_reason=None)])
async def test_a_stream_that_breaks_midway_is_asked_again_from_the_start(broken: Reply) -> None:
    async with FakeOpenAi(in_turn(broken, Reply(texts=("Answer: gik",)))) as server:
        done = await attempts(server)
    assert isinstance(done, Completion)
    assert done.reply_text == "Answer: gik"
    assert done.faults[0].startswith("BROKEN_STREAM")


async def test_a_filtered_reply_is_an_error_and_no_answer() -> None:
    async with FakeOpenAi(in_turn(Reply(finish_reason="content_filter"))) as server:
        with pytest.raises(AttemptError, match="content_filter"):
            await complete(server, request())


async def test_one_deadline_holds_for_a_slow_server() -> None:
    async with FakeOpenAi(in_turn(Reply(delay_s=3600))) as server:
        with pytest.raises(DeadlineError, match=r"0\.2 s"):
            await complete(server, request(), timeout_s=0.2)
        await asyncio.sleep(0)


async def test_the_deadline_holds_for_all_turns_together() -> None:
    slow = Reply(texts=("<search> fem",), delay_s=0.15)
    async with FakeOpenAi(in_turn(slow)) as server:
        with pytest.raises(DeadlineError):
            await complete(server, request(Mode.DENSE), timeout_s=0.4)
    assert len(server.requests) < 5


async def test_a_page_in_place_of_a_stream_names_the_address() -> None:
    async with FakeOpenAi(in_turn(Reply(body="<html>"))) as server:
        with pytest.raises(RefusedError, match=r"text/html, not with a stream; .*/v1"):
            await complete(server, request())


async def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "secret-1")
    refusal = Reply(status=401, body='{"error": {"message": "bad key secret-1"}}')
    async with FakeOpenAi(in_turn(refusal)) as server:
        client = client_of(server, api_key_env="FAR_KEY")
        with pytest.raises(RefusedError) as caught:
            await client.complete(request(), timeout_s=600)
        await client.close()
    assert server.headers[0]["authorization"] == "Bearer secret-1"
    assert str(caught.value) == "HTTP_401: bad key ***"


async def test_the_context_length_is_read_where_the_server_lists_it() -> None:
    async with FakeOpenAi(in_turn(Reply())) as server:
        client = client_of(server, family="GPT-like")
        model = await client.get_model()
        await client.close()
    assert (model.name, model.family, model.context_limit) == ("m", "GPT-like", 4096)
    assert model.styles == ("natural",)
    assert model.modes == tuple(Mode)


async def test_connecting_tells_of_a_refusal() -> None:
    models = Reply(status=401, body='{"error": "no"}')
    endpoint = Endpoint(name="far", address="http://x", external=External(model="m"))
    async with FakeOpenAi(in_turn(Reply()), models=models) as server:
        client = client_of(server)
        with pytest.raises(InputError, match="'far'"):
            await connect(endpoint, Replicas([Replica(client)]), None, timeout_s=0)
        await client.close()


async def test_a_server_without_a_list_of_models_is_taken_as_it_is() -> None:
    async with FakeOpenAi(in_turn(Reply()), models=Reply(status=404, body="no")) as server:
        client = client_of(server)
        assert await client.is_serving()
        assert (await client.get_model()).context_limit is None
        await client.close()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 0), ("2", 2), ("0.5", 0.5), ("-3", 0), ("soon", 0), ("nan", 0)],
)
def test_retry_after_in_seconds(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_as_a_date_in_the_past_is_now() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
