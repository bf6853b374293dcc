"""What endpoints are told besides the text, what they refuse of it, and what keeps us from them."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from harnessapi.rpc.targets import parse_target

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.connection import connect
from harness.clients.faults import RefusedError
from harness.clients.grpc_client import Client
from harness.clients.openai import model_list, openai_client
from harness.clients.openai.openai_client import ExternalClient
from harness.clients.replica import Replica
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.external import Api, External
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.errors import InputError, UnreachableError
from harness.fakes.fake_openai import FakeOpenAi, Reply
from harness.fakes.picky_servers import SERVERS, picky_server
from harness.sample import Prompt

PROMPT = Prompt(
    text="[Problem 1]\nContext: bab dok ; fem gik ;\nQuestion: fem\n", stops=("\n[Problem",)
)
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def asked(**options: Any) -> CompletionRequest:
    return CompletionRequest(prompt=PROMPT, mode=None, max_new_tokens=50, **options)


async def complete(
    address: str, request: RequestOptions = DEFAULT_REQUEST, *, repeat: int = 0, **external: Any
) -> tuple[Completion, list[str]]:
    """The completion, and what a user is told meanwhile."""
    said: list[str] = []
    client = ExternalClient(address, External(**{"model": "m", **external}), None, request)
    client.say = said.append
    try:
        await client.get_model()
        first = await client.complete(asked(repeat=repeat), timeout_s=600)
        await client.complete(asked(repeat=repeat), timeout_s=600)
    finally:
        await client.close()
    return first, said


async def test_a_request_says_what_the_options_say(monkeypatch) -> None:
    monkeypatch.setenv("ORGANIZATION", "org-secret-1")
    options = RequestOptions(
        temperature=0.5,
        top_p=0.9,
        sampling_seed=7,
        system_prompt="Be brief.",
        token_limit="max_completion_tokens",
        leave_out=("stream_options",),
        extra_body={"top_k": 20, "reasoning": {"effort": "low"}},
        chat_template_kwargs={"enable_thinking": False},
        headers={"X-Title": "recall"},
        headers_env={"X-Organization": "ORGANIZATION"},
    )
    async with FakeOpenAi(lambda _request, _number: Reply()) as server:
        await complete(server.address, options, repeat=3)
    sent, headers = server.requests[0], server.headers[-1]
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert {key: sent[key] for key in sent if key not in {"messages", "path", "query", "key"}} == {
        "model": "m",
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 10,
        "stream": True,
        "max_completion_tokens": 50,
        "top_k": 20,
        "reasoning": {"effort": "low"},
        "chat_template_kwargs": {"enable_thinking": False},
    }
    assert (headers["x-title"], headers["x-organization"]) == ("recall", "org-secret-1")


async def test_without_options_a_request_is_greedy_and_has_no_seed() -> None:
    async with FakeOpenAi(lambda _request, _number: Reply()) as server:
        await complete(server.address)
    assert server.requests[0].keys() == {
        "path", "query", "key", "model", "temperature", "stream", "stream_options", "messages",
        "max_tokens",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameter", "told"),
    [
        ("no-max-tokens", "max_tokens", "; max_completion_tokens is sent instead"),
        ("no-temperature", "temperature", ""),
        ("no-stream-options", "stream_options", ""),
        ("no-stop", "stop", ""),
    ],
)
async def test_what_a_server_refuses_by_name_is_left_out_and_told_once(
    name: str, parameter: str, told: str
) -> None:
    async with picky_server(name) as server:
        completion, said = await complete(server.address, api=Api.COMPLETIONS)
    assert completion.reply_text.endswith("gik")
    assert [parameter in request for request in server.requests] == [True, False, False]
    assert said == [f"it refuses the parameter {parameter}, which is not sent any more{told}"]
    assert ("max_completion_tokens" in server.requests[-1]) == bool(told)


async def test_a_server_without_stop_strings_is_cut_where_it_should_have_stopped() -> None:
    went_on = Reply(texts=("Answer: gik\n", "\n[Problem 2]\nAnswer: bab"), finish_reason="length")
    async with FakeOpenAi(lambda _request, _number: went_on) as server:
        completion, _ = await complete(server.address, api=Api.COMPLETIONS)
    assert completion.reply_text == "Answer: gik\n"
    assert not completion.is_truncated


async def test_a_refusal_of_the_text_or_the_key_is_no_parameter_to_leave_out() -> None:
    long = '{"error": {"message": "maximum context length is 9 tokens", "param": "max_tokens"}}'
    async with FakeOpenAi(lambda _request, _number: Reply(status=400, body=long)) as server:
        with pytest.raises(RefusedError, match="maximum context"):
            await complete(server.address)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["no-list", "slow-list", "busy-list"])
async def test_a_list_of_models_is_a_convenience(name: str, monkeypatch) -> None:
    for module in (model_list, openai_client):
        monkeypatch.setattr(module, "PROBE_TIMEOUT", httpx.Timeout(0.05, connect=600))
    endpoint = Endpoint(name="far", address="http://x", external=External(model="m"))
    async with picky_server(name) as server:
        client = ExternalClient(server.address, External(model="m"), None)
        connection = await connect(endpoint, Replicas([Replica(client)]), None, timeout_s=0)
        completion = await connection.client.complete(asked(), timeout_s=600)
        await client.close()
    assert completion.reply_text.endswith("gik")


async def test_a_model_that_the_server_lacks_is_named_with_those_it_has() -> None:
    async with picky_server("other-model") as server:
        with pytest.raises(RefusedError) as caught:
            await complete(server.address, model="n")
    assert "`n` does not exist" in str(caught.value)
    assert "model 'n'; it lists: m" in str(caught.value)


async def test_azure_has_its_version_in_the_query_and_its_key_in_a_header(monkeypatch) -> None:
    monkeypatch.setenv("AZURE_KEY", "azure-key-1")
    key = {"api_key_env": "AZURE_KEY", "api_key_header": "api-key"}
    async with picky_server("azure") as server:
        address = f"{server.address}/openai/deployments/gpt?api-version=2024-10-21"
        completion, _ = await complete(address, **key)
    assert completion.reply_text.endswith("gik")
    assert server.requests[0]["query"] == "api-version=2024-10-21"
    assert "authorization" not in server.headers[-1]


@pytest.mark.parametrize("variable", PROXIES)
async def test_a_server_on_this_machine_is_never_asked_through_a_proxy(
    monkeypatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    async with FakeOpenAi(lambda _request, _number: Reply()) as server:
        completion, _ = await complete(server.address)
    assert completion.reply_text == "Answer: bab"


def test_a_proxy_that_is_none_is_refused_by_its_variable(monkeypatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "htp://user:secret@proxy")
    with pytest.raises(InputError) as caught:
        ExternalClient("https://models.example/v1", External(model="m"), None)
    assert "HTTPS_PROXY" in str(caught.value)
    assert "secret" not in str(caught.value)


async def cause_of(client: Any, address: str) -> str:
    endpoint = Endpoint(name="far", address=address)
    try:
        with pytest.raises(UnreachableError) as caught:
            await connect(endpoint, Replicas([Replica(client)]), None, timeout_s=0)
    finally:
        await client.close()
    return str(caught.value)


async def test_why_an_endpoint_is_not_there_is_said(monkeypatch, free_port) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)

    find = socket.getaddrinfo

    def look_up(host: str, *rest: Any, **named: Any) -> Any:
        if host == "models.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return find(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def over_http(address: str) -> str:
        return await cause_of(ExternalClient(address, External(model="m"), None), address)

    closed = f"127.0.0.1:{free_port()}"
    assert "connection refused" in await over_http(f"http://{closed}/v1")
    assert "the name models.invalid is not known" in await over_http("https://models.invalid/v1")

    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        said = await over_http(f"https://127.0.0.1:{port}/v1")
    assert "may have to begin with http://" in said
    over_grpc = await cause_of(Client(parse_target(closed)), closed)
    assert "refused" in over_grpc.lower()


def test_every_picky_server_says_what_it_wants() -> None:
    assert all(picky.summary for picky in SERVERS.values())
