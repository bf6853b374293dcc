"""No single request stops a server: each is refused by its size, or costs no more than others."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
from grpc_health.v1 import health_pb2
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.targets import parse_target

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.engine_backend import EngineBackend
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.rpc.inference_server import SERVICE, serve
from harness_servers.rpc.intake import Intake

MAX_NEW_TOKENS = 1000
MAX_QUEUED = 32
ENDLESS = pb.StoppingOptions(max_new_tokens=2**32 - 1, ignore_eos=True)


@pytest.fixture
async def backend(checkpoint_of, scripted) -> EngineBackend:
    backend = EngineBackend(
        checkpoint=checkpoint_of(
            scripted({"<cot>": "dok", "<direct>": "<answer> dok fem gik bab"})
        ),
        retriever=LocalRetriever(),
        options=EngineOptions(num_slots=4, max_queued=MAX_QUEUED),
        max_prompt_tokens=100_000,
        name="here",
    )
    backend.description = replace(backend.description, max_new_tokens=MAX_NEW_TOKENS)
    return backend


@pytest.fixture
async def channel(backend, tmp_path) -> AsyncIterator[grpc.aio.Channel]:
    target, stopped, serving = parse_target(f"unix:{tmp_path}/s"), asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        serve(backend, target, stopped=stopped, ready=lambda _target: serving.set())
    )
    await serving.wait()
    async with grpc.aio.insecure_channel(target.name) as channel:
        yield channel
    stopped.set()
    assert await running


async def refusal(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def test_of_many_unknown_words_the_first_is_named_and_the_rest_are_counted(channel) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    text = "bab dok " + " ".join(f"house{number}" for number in range(40_000))
    code, details = await refusal(stub.Tokenize(pb.TokenizeRequest(text=text)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details == "word 3, 'house0', is not in the vocabulary; nor are 39999 more"
    word = "x" * 1_000_000
    _, details = await refusal(stub.Tokenize(pb.TokenizeRequest(text=word)))
    assert details == f"word 1, '{'x' * 64}... (1000000 characters)', is not in the vocabulary"


@pytest.mark.parametrize("text", ["bab " * 15_000_000, "x" * 63_000_000], ids=["words", "word"])
async def test_a_text_too_long_for_any_prompt_is_never_tokenized(
    channel, backend, monkeypatch, text: str
) -> None:
    def encode_prompt(text: str) -> None:
        raise AssertionError(f"{len(text)} characters are tokenized")

    monkeypatch.setattr(backend.codec, "encode_prompt", encode_prompt)
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    for call in (
        stub.Tokenize(pb.TokenizeRequest(text=text)),
        stub.Generate(pb.GenerateRequest(text=text)).read(),
    ):
        code, details = await refusal(call)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert f"the prompt has {len(text)} characters; at most 1600000" in details


async def test_a_long_text_whose_call_has_ended_is_not_read_any_more(backend, monkeypatch) -> None:
    is_read, read, go_on = threading.Event(), [], threading.Event()
    encode = backend.codec.encode_prompt

    def encode_prompt(text: str):
        read.append(text[:3])
        is_read.set()
        assert go_on.wait(600)
        return encode(text)

    monkeypatch.setattr(backend.codec, "encode_prompt", encode_prompt)
    intake = Intake(backend.codec, backend.description)
    first = asyncio.create_task(intake.tokenize("bab " * 10_000))
    await asyncio.to_thread(is_read.wait, 600)
    given_up = asyncio.create_task(intake.tokenize("fem " * 10_000))
    third = asyncio.create_task(intake.tokenize("dok " * 10_000))
    await asyncio.sleep(0)
    given_up.cancel()
    go_on.set()
    assert len((await first).ids) == len((await third).ids) == 10_000
    assert read == ["bab", "dok"]
    intake.close()


@pytest.mark.parametrize(
    ("stops", "words"),
    [
        (["a"] * 17, "stop holds 17 strings; at most 16"),
        (["a", "b" * 257], "stop string 2 has 257 characters; at most 256"),
        (["a"] * 1_000_000, "stop holds 1000000 strings"),
    ],
)
async def test_stop_strings_are_few_and_short(channel, stops: list[str], words: str) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    request = pb.GenerateRequest(text="<cot>", stopping=pb.StoppingOptions(stop=stops))
    code, details = await refusal(stub.Generate(request).read())
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in details


async def test_as_many_stop_strings_as_are_taken_of_the_length_that_is_taken(channel) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    stops = pb.StoppingOptions(stop=["b" * 256] * 15 + ["fem gik"])
    request = pb.GenerateRequest(text="<direct>", stopping=stops)
    responses = [each async for each in stub.Generate(request)]
    assert "".join(each.delta.text for each in responses).strip() == "<answer> dok"
    assert responses[-1].finished.reason == pb.FINISH_REASON_STOP


async def test_nobody_gets_more_new_tokens_than_the_server_gives_and_is_told_so(channel) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    assert (await stub.GetModel(pb.GetModelRequest())).max_new_tokens == MAX_NEW_TOKENS
    responses = [
        each async for each in stub.Generate(pb.GenerateRequest(text="<cot>", stopping=ENDLESS))
    ]
    assert responses[0].started.stopping.max_new_tokens == MAX_NEW_TOKENS
    assert responses[-1].finished.num_generated_tokens == MAX_NEW_TOKENS
    assert responses[-1].finished.reason == pb.FINISH_REASON_LENGTH


@pytest.mark.parametrize(
    "method",
    [f"/{SERVICE}/Tokenize", f"/{SERVICE}/Generate", "/grpc.health.v1.Health/Check"],
)
async def test_bytes_that_are_no_message_are_told_in_a_line(channel, caplog, method: str) -> None:
    caplog.set_level(logging.WARNING)
    call = channel.unary_stream(method)(b"\xff" * 100)
    code, details = await refusal(call.read())
    assert code is grpc.StatusCode.INTERNAL
    assert details == "the request's 100 bytes are no message"
    [record] = caplog.records
    assert record.exc_info is None
    assert method in record.getMessage()
    health = channel.unary_unary("/grpc.health.v1.Health/Check")
    assert health_pb2.HealthCheckResponse.FromString(await health(b"")).status == 1


async def test_calls_that_are_too_many_are_refused_as_such(channel) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    calls = [stub.Generate(pb.GenerateRequest(text="<cot>", stopping=ENDLESS)) for _ in range(2000)]

    async def outcome(call) -> str:
        try:
            return "begun" if await call.read() is not grpc.aio.EOF else "ended"
        except grpc.aio.AioRpcError as error:
            return error.code().name

    outcomes = Counter(await asyncio.gather(*map(outcome, calls)))
    assert outcomes.keys() == {"begun", "RESOURCE_EXHAUSTED"}
    assert outcomes["begun"] >= 4 + MAX_QUEUED
