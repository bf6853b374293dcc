"""What no single request can do to a server: each limit at its edge, on a server of its own."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.interceptor import ErrorInterceptor

from harness_servers.checkpoints.checkpoint import save_checkpoint
from harness_servers.errors import InvalidRequestError
from harness_servers.rpc.inference_server import SERVICE
from harness_servers.rpc.request_checks import check_lengths

ENDLESS = pb.StoppingOptions(max_new_tokens=4_000_000_000, ignore_eos=True)
NO_MESSAGE = b"\xff\xff\xff"
SERVED = ("--slots", "4", "--max-prompt-tokens", "2000", "--max-new-tokens", "1000")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config, scripted, tokenizer) -> Path:
    model = scripted({"<cot>": "dok"})
    num_scripts, script_length = model.scripts_NK.shape
    shape = {"num_scripts": num_scripts, "script_length": script_length}
    folder = tmp_path_factory.mktemp("checkpoints") / "script"
    config = {**config, "model_type": "scripted", **shape}
    save_checkpoint(folder, config, model.state_dict(), tokenizer)
    return folder


def start(folder: Path, address: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "harness_servers.command", str(folder), "--listen", address]
    process = subprocess.Popen([*command, *SERVED], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("listening")
    return process


def stop(process: "subprocess.Popen[str]") -> str:
    process.send_signal(signal.SIGTERM)
    return process.communicate(timeout=600)[1]


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory) -> Iterator[str]:
    address = f"unix:{tmp_path_factory.mktemp('socket')}/s"
    process = start(folder, address)
    yield address
    assert stop(process) == ""


@pytest.fixture
async def stub(address: str):
    options = (("grpc.max_send_message_length", -1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield inference_pb2_grpc.InferenceServiceStub(channel)


async def refusal(call) -> str:
    """The details of an INVALID_ARGUMENT."""

    async def answer() -> None:
        if isinstance(call, grpc.aio.UnaryStreamCall):
            async for _ in call:
                pass
        else:
            await call

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answer()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    return str(caught.value.details())


async def refusals(stub, text: str) -> list[str]:
    """Of a text that is to be tokenized, and of the same as a prompt."""
    return [
        await refusal(stub.Tokenize(pb.TokenizeRequest(text=text))),
        await refusal(stub.Generate(pb.GenerateRequest(text=text))),
    ]


async def test_of_many_unknown_words_the_first_is_named_and_the_rest_are_counted(stub) -> None:
    text = "bab " + " ".join(f"x{number}" for number in range(1500))
    for details in await refusals(stub, text):
        assert details == "word 2, 'x0', is not in the vocabulary; nor are 1499 more"


async def test_a_text_longer_than_any_prompt_is_refused_by_its_length(stub) -> None:
    edge = 16 * 2000
    for text in ("b" * (edge + 1), "bab " * 2**18, "b" * 2**20, "é" * edge):
        for details in await refusals(stub, text):
            assert f"bytes or more; at most {edge} are read" in details
    for details in await refusals(stub, "b" * edge):
        assert f"({edge} characters), is not in the vocabulary" in details
    for details in await refusals(stub, "bab " * 4001):
        assert details == "the text has over 4000 words; a prompt has at most 2000 tokens"
    assert len((await stub.Tokenize(pb.TokenizeRequest(text="bab " * 4000))).token_ids) == 4000
    too_long = pb.GenerateRequest(text="bab " * 4000)
    assert "has 4000 tokens; at most 2000" in await refusal(stub.Generate(too_long))


async def test_a_request_longer_than_any_is_resource_exhausted_before_it_is_read(stub) -> None:
    edge = 2 * 16 * 2000 + 2**20

    def request(num_bytes: int) -> pb.GenerateRequest:
        text = "b" * num_bytes
        return pb.GenerateRequest(
            text=text[: 2 * num_bytes - pb.GenerateRequest(text=text).ByteSize()]
        )

    assert request(edge).ByteSize() == edge
    assert "bytes or more" in await refusal(stub.Generate(request(edge)))
    for call in (stub.Generate(request(edge + 1)), stub.Generate(request(63 * 2**20))):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in str(caught.value.details())


async def test_tokens_are_counted_before_lists_are_made_of_them(stub) -> None:
    assert "4001 tokens; at most 4000" in await refusal(
        stub.Tokenize(pb.TokenizeRequest(text="<cot>" * 4001))
    )


async def test_conversations_and_searched_texts_have_a_length_too(stub) -> None:
    many = pb.Conversation(messages=[pb.Message(role="user")] * 4097)
    assert "4097 messages" in await refusal(stub.Generate(pb.GenerateRequest(messages=many)))
    request = pb.GenerateRequest(text="bab")
    request.retrieval.searched_text = "a" * 4_000_001
    with pytest.raises(InvalidRequestError, match="4000001 characters of searched_text"):
        check_lengths(request)


@pytest.mark.parametrize(
    ("stop", "words"),
    [(["a"] * 17, "17 stop strings"), (["a", "a" * 257], "a stop string has 257 characters")],
)
async def test_stop_strings_are_few_and_short(stub, stop: list[str], words: str) -> None:
    def request(stop: list[str]) -> pb.GenerateRequest:
        return pb.GenerateRequest(text="bab", stopping=pb.StoppingOptions(stop=stop))

    assert words in await refusal(stub.Generate(request(stop)))
    assert [event async for event in stub.Generate(request(["a" * 256] * 16))]


async def test_who_asks_for_more_tokens_than_there_are_gets_so_many_and_is_told(stub) -> None:
    assert (await stub.GetModel(pb.GetModelRequest())).max_new_tokens == 1000
    events = [
        event async for event in stub.Generate(pb.GenerateRequest(text="<cot>", stopping=ENDLESS))
    ]
    assert events[0].started.stopping.max_new_tokens == 1000
    assert events[-1].finished.num_generated_tokens == 1000
    assert events[-1].finished.reason == pb.FINISH_REASON_LENGTH


async def test_calls_past_the_queue_are_resource_exhausted_and_the_server_goes_on(
    address: str,
) -> None:
    codes: Counter[str] = Counter()
    stopping = pb.StoppingOptions(max_new_tokens=50, ignore_eos=True)

    async def ask(channel: grpc.aio.Channel) -> None:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        try:
            async for _ in stub.Generate(pb.GenerateRequest(text="<cot>", stopping=stopping)):
                pass
            codes["OK"] += 1
        except grpc.aio.AioRpcError as error:
            codes[error.code().name] += 1

    async with grpc.aio.insecure_channel(address) as channel:
        calls = [asyncio.create_task(ask(channel)) for _ in range(4000)]
        await asyncio.wait_for(asyncio.gather(*calls), 600)
        assert codes.keys() == {"OK", "RESOURCE_EXHAUSTED"}
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


async def test_past_the_hard_limit_any_call_of_the_service_is_resource_exhausted() -> None:
    class Call:
        code = None

        async def abort(self, code: grpc.StatusCode, details: str) -> None:
            self.code = code
            assert details == "1 calls are under way; no more are taken"

    is_answering, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_request, _context) -> bytes:
        is_answering.set()
        await go_on.wait()
        return b""

    class Details:
        method = "/a.Service/Method"

    async def continuation(_details):
        return grpc.unary_unary_rpc_method_handler(answer, request_deserializer=bytes)

    interceptor = ErrorInterceptor("a.Service", max_calls=1)
    handler = await interceptor.intercept_service(continuation, Details())
    first = asyncio.create_task(handler.unary_unary(b"", Call()))
    await is_answering.wait()
    second = Call()
    await handler.unary_unary(b"", second)
    assert second.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    go_on.set()
    assert await first == b""


async def test_bytes_that_are_no_message_are_one_line_in_the_log(folder: Path, tmp_path) -> None:
    address = f"unix:{tmp_path}/s"
    process = start(folder, address)
    unary = [f"/{SERVICE}/GetModel", f"/{SERVICE}/Tokenize", "/grpc.health.v1.Health/Check"]
    streams = [f"/{SERVICE}/Generate", "/grpc.health.v1.Health/Watch"]
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with grpc.aio.insecure_channel(address) as channel:
        for method in unary:
            assert method in await refusal(channel.unary_unary(method)(NO_MESSAGE))
        for method in streams:
            assert method in await refusal(channel.unary_stream(method)(NO_MESSAGE))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in channel.stream_stream(reflection)(iter([NO_MESSAGE])):
                pass
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (
            await inference_pb2_grpc.InferenceServiceStub(channel).GetModel(pb.GetModelRequest())
        ).max_prompt_tokens == 2000
    lines = stop(process).splitlines()
    assert len(lines) == len([*unary, *streams, reflection])
    assert all("was sent 3 bytes that are no message" in line for line in lines)
