"""What model servers over gRPC are told besides the text, and why one of them is not there."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.targets import parse_target

from harness.clients.completion import CompletionRequest
from harness.clients.faults import AttemptError, RefusedError
from harness.clients.grpc_client import Client
from harness.clients.openai.openai_client import ExternalClient
from harness.endpoints.external import Api, External
from harness.endpoints.request_options import DEFAULT_REQUEST, RequestOptions
from harness.fakes.fake_model import FakeModel, Script, start_fake
from harness.fakes.fake_openai import FakeOpenAi, Reply
from harness.sample import Prompt

PROMPT = Prompt(text="assoc_recall ; bab dok ; <direct> bab", is_language=True)
OPTIONS = RequestOptions(temperature=0.5, top_p=0.75, sampling_seed=7, system_prompt="Be brief.")


class Recording(FakeModel):
    """Keeps what it is asked; a conversation's last message is its text."""

    def __init__(self) -> None:
        super().__init__(Script())
        self.asked: list[pb.GenerateRequest] = []

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GenerateResponse]:
        kept = pb.GenerateRequest()
        kept.CopyFrom(request)
        self.asked.append(kept)
        if request.HasField("messages"):
            request.text = request.messages.messages[-1].content
        async for event in super().Generate(request, context):
            yield event


async def sent(
    folder: Path, options: RequestOptions, *, repeat: int = 0, api: Api = Api.CHAT
) -> pb.GenerateRequest:
    model = Recording()
    address = f"unix:{folder}/model.sock"
    server = await start_fake(model, address)
    client = Client(parse_target(address), api, options)
    request = CompletionRequest(prompt=PROMPT, mode=None, max_new_tokens=9, repeat=repeat)
    try:
        completion = await client.complete(request, timeout_s=600)
    finally:
        await client.close()
        await server.stop(None)
    assert completion.reply_text == " <answer> dok"
    [asked] = model.asked
    return asked


async def test_how_tokens_are_drawn_and_the_system_prompt_go_over_the_wire(tmp_path: Path) -> None:
    asked = await sent(tmp_path, OPTIONS, repeat=3)
    drawn = asked.sampling
    assert (drawn.temperature, drawn.top_p, drawn.seed) == (0.5, 0.75, 10)
    said = [(message.role, message.content) for message in asked.messages.messages]
    assert said == [("system", "Be brief."), ("user", PROMPT.text)]


async def test_without_options_nothing_is_drawn_and_no_seed_is_sent(tmp_path: Path) -> None:
    asked = await sent(tmp_path, DEFAULT_REQUEST, api=Api.COMPLETIONS)
    assert asked.sampling.temperature == 0
    assert not asked.sampling.HasField("seed")
    assert not asked.sampling.HasField("top_p")
    assert asked.text == PROMPT.text


async def test_a_model_that_reads_a_text_has_no_place_for_a_system_prompt(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="system_prompt needs messages"):
        await sent(tmp_path, OPTIONS, api=Api.COMPLETIONS)


async def cause_of(address: str) -> str:
    client = Client(parse_target(address))
    assert not await client.is_serving()
    await client.close()
    return client.cause


async def test_a_web_server_and_a_socket_that_is_none_are_told_apart(
    tmp_path: Path,
) -> None:
    async with FakeOpenAi(lambda *_: Reply()) as server:
        said = await cause_of(server.address.removeprefix("http://").removesuffix("/v1"))
    assert "may not speak gRPC" in said
    assert "no such socket" in await cause_of(f"unix:{tmp_path}/nobody.sock")


async def test_a_grpc_server_asked_over_http_says_how_its_address_is_written(
    free_port: Any,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    server = await start_fake(FakeModel(Script()), address)
    client = ExternalClient(f"http://{address}", External(model="m"), None)
    request = CompletionRequest(prompt=PROMPT, mode=None, max_new_tokens=9)
    try:
        with pytest.raises(AttemptError, match="HOST:PORT, without http://"):
            await client.complete(request, timeout_s=600)
    finally:
        await client.close()
        await server.stop(None)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(body=" "), "not with a stream"),
        (Reply(stream=()), "status 200, and nothing in it"),
        (Reply(wire=()), "closed the connection without an answer"),
        (
            Reply(status=404, body="<!DOCTYPE html><p>Not\n here"),
            "web page: Not here .*ends in /v1",
        ),
    ],
)
async def test_an_answer_that_is_none_says_so(reply: Reply, said: str) -> None:
    async with FakeOpenAi(lambda *_: reply) as server:
        client = ExternalClient(server.address, External(model="m"), None)
        request = CompletionRequest(prompt=PROMPT, mode=None, max_new_tokens=9)
        with pytest.raises(AttemptError, match=said):
            await client.complete(request, timeout_s=600)
        await client.close()
