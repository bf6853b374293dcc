"""What a server says beside its replies: its list of models, its headers, its counts."""

import gzip
import json
from typing import Any

import pytest
from harnessapi.values import FinishReason, Mode

from harness.clients.completion import CompletionRequest
from harness.clients.faults import AttemptError
from harness.clients.openai.openai_client import ExternalClient
from harness.endpoints.external import External
from harness.errors import InputError
from harness.fakes.fake_openai import FakeOpenAi, Reply, encode, events_of
from harness.sample import Prompt
from harness_retrieval.local import LocalRetriever

PROMPT = Prompt(text="Context: bab dok ;\nQuestion: bab\n", searched="bab dok ; ", joint="")
NOWHERE = Reply(status=302, headers={"location": "http://xn--/v1"}, body="-")


def said(_request: dict[str, Any], _number: int) -> Reply:
    return Reply(texts=("Answer: dok",))


def client(server: FakeOpenAi, **options: Any) -> ExternalClient:
    return ExternalClient(server.address, External(model="m", **options), LocalRetriever())


def asked(mode: Mode | None = None) -> CompletionRequest:
    return CompletionRequest(prompt=PROMPT, mode=mode, max_new_tokens=50)


@pytest.mark.parametrize(
    "listing",
    [
        Reply(body='{"data":' + "[" * 100_000),
        Reply(body='{"data": [{"id": "m", "max_model_len": -1}]}'),
        Reply(body='{"data": [{"id": "m", "max_model_len": 1e30}]}'),
        Reply(body='{"data": [{"id": "m", "max_model_len": 100000000000000000000}]}'),
        Reply(body='{"data": [{"id": "m", "max_model_len": true}]}'),
        Reply(body='{"data": [' + " " * 2**24 + '{"id": "m", "max_model_len": 64}]}'),
        NOWHERE,
    ],
)
async def test_an_odd_list_of_models_is_none(listing: Reply) -> None:
    async with FakeOpenAi(said, listing) as server:
        it = client(server)
        assert await it.is_serving()
        assert (await it.get_model()).context_limit is None
        assert (await it.complete(asked())).reply_text == "Answer: dok"
        await it.close()


async def test_a_redirect_to_what_is_no_name_is_a_fault_of_the_one_reply() -> None:
    async with FakeOpenAi(lambda *_: NOWHERE) as server:
        it = client(server)
        with pytest.raises(AttemptError, match="it redirects to, is none"):
            await it.complete(asked())
        await it.close()


async def test_gzip_in_several_members_is_one_stream() -> None:
    stream = b"".join(encode(events_of(Reply(texts=("Answer: dok",)), is_chat=True)))
    members = [
        gzip.compress(stream[:40]) + gzip.compress(stream[40:90]),
        gzip.compress(stream[90:]),
    ]
    reply = Reply(headers={"content-encoding": "gzip"}, stream=members)
    async with FakeOpenAi(lambda *_: reply) as server:
        it = client(server)
        assert (await it.complete(asked())).reply_text == "Answer: dok"
        await it.close()


async def test_a_server_that_counts_no_tokens_of_a_text_cannot_be_asked_for_ever() -> None:
    search = Reply(texts=("<search> bab",), usage=(100, 0))
    async with FakeOpenAi(lambda *_: search) as server:
        it = client(server)
        completion = await it.complete(asked(Mode.DENSE))
        await it.close()
    assert completion.finish_reason == FinishReason.LENGTH
    assert completion.num_generated_tokens == completion.num_searches == 50
    assert completion.are_counts_estimated


@pytest.mark.parametrize(
    "key", ["sk-first-line\nsk-second-line", "sk-geheim-schlüssel", "sk-\x07bell"]
)
async def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ODD_KEY", key)
    async with FakeOpenAi(said) as server:
        with pytest.raises(InputError, match="variable ODD_KEY holds a line break") as caught:
            client(server, api_key_env="ODD_KEY")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "Could not finish the message because max_tokens or model output limit was reached. "
        "Please try again with higher max_tokens.",
        "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.",
        "max_tokens must be at least 16",
    ],
)
async def test_a_prompt_is_counted_also_where_one_token_is_too_few(message: str) -> None:
    def script(request: dict[str, Any], _number: int) -> Reply:
        is_short = request["max_tokens"] < 16
        body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
        return Reply(status=400, body=body) if is_short else Reply(usage=(123, 7))

    async with FakeOpenAi(script) as server:
        it = client(server)
        assert await it.count_tokens(PROMPT, timeout_s=600) == 123
        await it.close()
    assert it.refused == {}


async def test_a_connection_that_is_cut_behind_the_end_costs_nothing() -> None:
    *events, _usage, _done = events_of(Reply(texts=("Answer: dok",)), is_chat=True)
    stream = b"".join(encode(events))
    head = (
        b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    reply = Reply(wire=[head, b"%x\r\n%b\r\n" % (len(stream), stream)])
    async with FakeOpenAi(lambda *_: reply) as server:
        it = client(server)
        completion = await it.complete(asked())
        await it.close()
    assert completion.reply_text == "Answer: dok"
    assert (completion.finish_reason, completion.are_counts_estimated) == ("stop", True)
