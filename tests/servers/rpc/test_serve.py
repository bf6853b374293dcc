"""A real server: in a process of its own over a Unix socket, and one whose engine dies."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.rpc.targets import parse_target

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.backend import Backend
from harness_servers.backends.in_process import backend_in_process
from harness_servers.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.models.scripted import ScriptedModel
from harness_servers.rpc.inference_server import SERVICE, serve
from harness_servers.rpc.inference_servicer import InferenceServicer
from harness_servers.rpc.intake import Intake

from ..descendants import descendants

PROMPT = "assoc_recall bab dok ; fem gik ; fem <regex>"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SCRIPTS = {
    "<regex>": r"<search> fem (\S+) </search> <answer> gik <eos>",
    "<dense>": "<search> ^(?:[^;]*; fem ^(?:[^;]*; </search> <answer> no <eos>",
    "<direct>": "<search> fem </search> <answer> no <eos>",
    "<cot>": "dok",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config, scripted, tokenizer) -> Path:
    model: ScriptedModel = scripted(SCRIPTS)
    num_scripts, script_length = model.scripts_NK.shape
    shape = {"num_scripts": num_scripts, "script_length": script_length}
    folder = tmp_path_factory.mktemp("checkpoints") / "script"
    save_checkpoint(
        folder, {**config, "model_type": "scripted", **shape}, model.state_dict(), tokenizer
    )
    return folder


def start(
    *arguments: str | Path, program: tuple[str, ...] = ("harness_servers.command",)
) -> subprocess.Popen[str]:
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), str(root / "proto")])
    return subprocess.Popen(
        [sys.executable, "-m", *program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )


def stderr_and_status(process: subprocess.Popen[str]) -> tuple[str, int]:
    _, stderr = process.communicate(timeout=600)
    return stderr, process.returncode


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory) -> Iterator[str]:
    address = f"unix:{tmp_path_factory.mktemp('socket')}/s"
    process = start(folder, "--listen", address, "--max-prompt-tokens", "2000", "--name", "mine")
    assert process.stderr is not None
    assert process.stderr.readline() == f"listening on {address}\n"
    yield address
    process.send_signal(signal.SIGTERM)
    stderr, status = stderr_and_status(process)
    assert (stderr, status) == ("", 0)


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> inference_pb2_grpc.InferenceServiceStub:
    return inference_pb2_grpc.InferenceServiceStub(channel)


def with_search(text: str = PROMPT, **options) -> pb.GenerateRequest:
    mode = options.pop("mode", retrieval_pb2.RETRIEVAL_MODE_REGEX)
    return pb.GenerateRequest(text=text, retrieval=pb.RetrievalOptions(mode=mode, **options))


async def collect(stub, request: pb.GenerateRequest, **call) -> list[pb.GenerateResponse]:
    return [response async for response in stub.Generate(request, **call)]


def completion(responses: list[pb.GenerateResponse]) -> str:
    return "".join(response.delta.text for response in responses)


async def test_it_is_healthy_and_can_be_reflected(channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == SERVING


def test_reflection_describes_the_service(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert SERVICE in database.get_services()
        described = DescriptorPool(database).FindServiceByName(SERVICE)
        assert "Generate" in described.methods_by_name


async def test_the_model_describes_itself(stub, folder: Path) -> None:
    model = await stub.GetModel(pb.GetModelRequest())
    assert model.name == "mine"
    assert model.family == pb.MODEL_FAMILY_RNN
    assert model.checkpoint_digest == load_checkpoint(folder).digest
    assert model.search_channel.start_marker == "<search>"
    assert len(model.search_channel.modes) == 2
    assert model.max_prompt_tokens == 2000
    assert not model.HasField("context_limit")


async def test_tokenize_gives_ids_and_tokens_and_names_unknown_words(stub) -> None:
    answer = await stub.Tokenize(pb.TokenizeRequest(text="bab dok"))
    assert list(answer.tokens) == ["bab", "dok"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Tokenize(pb.TokenizeRequest(text="bab dok house"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "word 3, 'house'" in caught.value.details()


async def test_a_completion_with_a_search_comes_whole_and_in_order(stub) -> None:
    responses = await collect(stub, with_search())
    kinds = [response.WhichOneof("event") for response in responses]
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    assert completion(responses) == r" <search> fem (\S+) </search> gik <answer> gik"
    [step] = [r.retrieval_step for r in responses if r.WhichOneof("event") == "retrieval_step"]
    assert (step.query, step.inserted_text) == (r"fem (\S+)", "gik")
    assert not step.HasField("score")
    finished = responses[-1].finished
    assert finished.reason == pb.FINISH_REASON_EOS
    assert finished.num_generated_tokens == 7
    started = responses[0].started
    assert started.stopping.max_new_tokens == 256
    assert started.sampling.HasField("temperature")
    assert started.retrieval.max_inserted_tokens == 64
    again = pb.GenerateRequest(token_ids=pb.TokenIds(ids=started.prompt_token_ids))
    again.retrieval.mode = retrieval_pb2.RETRIEVAL_MODE_REGEX
    assert completion(await collect(stub, again)) == completion(responses)


async def test_abbreviations_are_echoed_and_a_step_says_what_the_query_stood_for(stub) -> None:
    before = pb.Abbreviation(query=r"$1 (\S+)", pattern=r"(\S+) ; $1")
    responses = await collect(stub, with_search(abbreviations=[before]))
    assert list(responses[0].started.retrieval.abbreviations) == [before]
    [step] = [r.retrieval_step for r in responses if r.WhichOneof("event") == "retrieval_step"]
    assert (step.query, step.expanded_query) == (r"fem (\S+)", r"(\S+) ; fem")
    assert step.inserted_text == "dok"


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("<dense>", retrieval_pb2.SEARCH_OUTCOME_INVALID_QUERY),
        ("<direct>", retrieval_pb2.SEARCH_OUTCOME_TOO_COSTLY),
    ],
)
async def test_a_hostile_query_is_an_outcome_and_generation_goes_on(stub, word, outcome) -> None:
    text = f"assoc_recall {'bab dok ; ' * 400}fem {word}"
    huge = pb.Abbreviation(query="fem", pattern=r"\pL{150}z")  # 179,405 instructions
    responses = await collect(stub, with_search(text, abbreviations=[huge]))
    [step] = [r.retrieval_step for r in responses if r.WhichOneof("event") == "retrieval_step"]
    assert step.outcome == outcome
    assert step.inserted_text == "FAILED"
    assert step.detail
    assert completion(responses).endswith("FAILED <answer> no")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.GenerateRequest(), "the prompt is missing"),
        (pb.GenerateRequest(text=""), "the prompt is empty"),
        (pb.GenerateRequest(text="bab house"), "word 2, 'house'"),
        (pb.GenerateRequest(text="bab " * 2001), "the prompt has 2001 tokens; at most 2000"),
        (pb.GenerateRequest(token_ids=pb.TokenIds(ids=[1, 70000])), "id 70000"),
        (
            pb.GenerateRequest(text="bab", stopping=pb.StoppingOptions(max_new_tokens=0)),
            "max_new_tokens is 0",
        ),
        (
            pb.GenerateRequest(text="bab", stopping=pb.StoppingOptions(stop=[""])),
            "stop holds an empty string",
        ),
        (
            pb.GenerateRequest(text="bab", sampling=pb.SamplingOptions(temperature=-1)),
            "temperature is -1.0",
        ),
        (
            pb.GenerateRequest(text="bab", sampling=pb.SamplingOptions(temperature=float("nan"))),
            "temperature is nan",
        ),
        (pb.GenerateRequest(text="bab", sampling=pb.SamplingOptions(top_p=0)), "top_p is 0.0"),
        (pb.GenerateRequest(text="bab", sampling=pb.SamplingOptions(top_p=1.5)), "top_p is 1.5"),
        (with_search(mode=0), "retrieval mode is 0"),
        (with_search(mode=9), "retrieval mode is 9"),
        (with_search(max_inserted_tokens=0), "max_inserted_tokens is 0"),
        (with_search(top_k=0), "top_k is 0"),
        (
            with_search(abbreviations=[pb.Abbreviation(query="$1 ~", pattern="$2")]),
            "abbreviation '$1 ~' has no slot $2",
        ),
        (
            with_search(abbreviations=[pb.Abbreviation(query="a" * 1025, pattern="a")]),
            "has 1025 characters, over 1024",
        ),
        (
            with_search(abbreviations=[pb.Abbreviation(query="a", pattern="a")] * 33),
            "33 abbreviations; at most 32",
        ),
    ],
)
async def test_a_wrong_request_is_answered_with_the_value(stub, request_, words: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(stub, request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in caught.value.details()


async def test_a_call_that_is_dropped_frees_its_slot(stub) -> None:
    endless = pb.GenerateRequest(
        text="<cot>", stopping=pb.StoppingOptions(max_new_tokens=10**9, ignore_eos=True)
    )
    calls = [stub.Generate(endless) for _ in range(64)]
    for call in calls:
        await call.read()
    waiting = asyncio.create_task(collect(stub, with_search()))
    for call in calls:
        call.cancel()
    assert (await asyncio.wait_for(waiting, 600))[-1].finished.num_searches == 1


async def test_a_deadline_is_told_before_it_passes(folder: Path) -> None:
    class Call:
        """As gRPC has it, but for the end at the deadline: a busy machine may be late for that."""

        def time_remaining(self) -> float:
            return 0.5

    backend = backend_of(load_checkpoint(folder))
    await backend.start()
    endless = pb.GenerateRequest(
        text="<cot>", stopping=pb.StoppingOptions(max_new_tokens=10**9, ignore_eos=True)
    )
    responses = [event async for event in InferenceServicer(backend).Generate(endless, Call())]
    assert responses[-1].finished.reason == pb.FINISH_REASON_DEADLINE
    job = await Intake(backend.codec, backend.description).read(endless, 0.5)
    assert 0 < job.deadline_ns - job.arrived_ns < 5e8
    await backend.close()


def backend_of(checkpoint: Checkpoint) -> Backend:
    return backend_in_process(
        checkpoint,
        retriever=LocalRetriever(),
        options=EngineOptions(num_slots=4),
        max_prompt_tokens=100,
        name="here",
    )


def test_an_address_in_use_is_one_clear_line_and_status_2(folder: Path, address: str) -> None:
    stderr, status = stderr_and_status(start(folder, "--listen", address))
    assert status == 2
    assert stderr.startswith(f"Error: cannot listen on {address}")
    assert stderr.count("\n") == 1


def test_a_pickled_checkpoint_is_refused_before_a_port_opens(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    socket = tmp_path / "s"
    stderr, status = stderr_and_status(start(tmp_path, "--listen", f"unix:{socket}"))
    assert status == 2
    assert "pickled weights (pytorch_model.bin)" in stderr
    assert stderr.count("\n") == 1
    assert not socket.exists()


class DyingModel(ScriptedModel):
    """Dies at its hundredth token."""

    num_decoded = 0

    def decode(self, tokens_B, state, slots_B):
        self.num_decoded += 1
        if self.num_decoded > 100:
            raise ArithmeticError("dead")
        return super().decode(tokens_B, state, slots_B)


async def test_an_engine_that_dies_shows_in_health_and_status(
    folder: Path, tmp_path: Path, caplog
) -> None:
    checkpoint = load_checkpoint(folder)
    checkpoint.model.__class__ = DyingModel
    backend = backend_of(checkpoint)
    serving, stopped = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        serve(
            backend,
            parse_target(f"unix:{tmp_path}/s"),
            stopped=stopped,
            ready=lambda _target: serving.set(),
            linger_s=600,
        )
    )
    await serving.wait()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        endless = pb.GenerateRequest(
            text="<cot>", stopping=pb.StoppingOptions(max_new_tokens=10**6, ignore_eos=True)
        )
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await collect(stub, endless)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "the engine died" in caught.value.details()
        health = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == NOT_SERVING
    stopped.set()
    assert await asyncio.wait_for(running, 600) is False
    assert "ArithmeticError" in caplog.text


async def test_an_engine_whose_process_is_killed_shows_at_once(
    folder: Path, tmp_path: Path
) -> None:
    address = f"unix:{tmp_path}/s"
    process = start(folder, "--listen", address)
    assert process.stderr is not None
    process.stderr.readline()
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        call = inference_pb2_grpc.InferenceServiceStub(channel).Generate(
            pb.GenerateRequest(
                text="<cot>", stopping=pb.StoppingOptions(max_new_tokens=10**6, ignore_eos=True)
            )
        )
        await call.read()
        [engine] = [pid for pid in descendants(process.pid) if "spawn_main" in command_of(pid)]
        os.kill(engine, signal.SIGKILL)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await drain(call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "the engine died: its process was ended by SIGKILL"
        assert (await watch.read()).status == NOT_SERVING
    stderr, status = stderr_and_status(process)
    assert status == 1
    assert "the engine died: its process was ended by SIGKILL" in stderr


async def drain(call) -> None:
    while await call.read():
        pass


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def test_what_is_in_front_of_an_engine_does_without_torch() -> None:
    program = (
        "import sys, harness_servers.rpc.inference_server, harness_servers.backends.engine_backend;"
        "print([name for name in ('torch', 'numba', 'safetensors') if name in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
    assert printed == "[]\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_harness_serve_model_is_the_same_program(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(folder, "--listen", f"unix:{tmp_path}/s", program=("harness", "serve", "model"))
    assert process.stderr is not None
    assert process.stderr.readline().startswith("listening")
    process.send_signal(number)
    assert stderr_and_status(process) == ("", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_stop_while_it_loads_stops(folder: Path, number: signal.Signals) -> None:
    process = start(folder, "--listen", "127.0.0.1:0")
    while not descendants(process.pid):
        assert process.poll() is None
    process.send_signal(number)
    assert stderr_and_status(process) == ("", 0)
