"""A run against a server of another's: what is retried, what errors, what stops it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.rpc.server import RpcServer
from harnessapi.rpc.targets import parse_target

from harness.cli.progress import PlainProgress
from harness.clients.faults import RefusedError
from harness.clients.grpc_client import Client
from harness.errors import IncompleteError, InputError
from harness.fakes.fake_model import FakeModel, Fault, Script
from harness.runner.session import SessionPlan, run_session
from harness.runs.manifest import read_manifest
from harness.runs.store import RunStore, create_run
from harness.runs.stored_samples import read_samples
from harness.runs.summary import summarize
from harness.sample import Prompt

from ..session_plans import session_plan


def work(
    folder: Path, samples: int, concurrency: int = 8, log_probs: int | None = None
) -> SessionPlan:
    return session_plan(
        samples=samples,
        options={"log_probs": log_probs},
        concurrency=concurrency,
        size=2,
        address=f"unix:{folder}/fake.sock",
        retrieval=True,
    )


async def run(folder: Path, store: RunStore, **options: Any) -> None:
    try:
        await run_session(work(folder, **options), store, PlainProgress())
    finally:
        store.close()


async def test_transient_faults_change_no_result(serve: Any, tmp_path: Path) -> None:
    faults = [Fault.UNAVAILABLE, Fault.EXHAUSTED, Fault.BROKEN]
    model = FakeModel(Script(), lambda call: faults[call % 3] if call % 5 == 0 else None)
    store = create_run(tmp_path)
    async with serve(model):
        await run(tmp_path, store, samples=30)
    result = summarize(store.folder)
    assert result.is_complete
    assert result.cells[0].metrics.accuracy == 1
    assert model.num_calls > 30


async def test_no_more_than_the_bound_are_in_flight(serve: Any, tmp_path: Path) -> None:
    model = FakeModel(Script())

    def answer_once_they_are_five(call: int) -> None:
        if call == 1:
            model.may_answer.clear()
        if model.num_running == 5:
            model.may_answer.set()

    model.on_call = answer_once_they_are_five
    async with serve(model):
        await run(tmp_path, create_run(tmp_path), samples=40, concurrency=5)
    assert model.max_running == 5


async def test_a_completion_that_could_not_be_read_again_errors_its_sample(
    serve: Any, tmp_path: Path
) -> None:
    model = FakeModel(Script(), lambda call: Fault.HUGE_COUNT if call == 3 else None)
    store = create_run(tmp_path)
    async with serve(model):
        await run(tmp_path, store, samples=5)
    [cell] = summarize(store.folder).cells
    assert (cell.metrics.n, cell.metrics.errored) == (4, 1)
    assert '"code":"NOT_STORABLE"' in (store.folder / "errors.jsonl").read_text()


async def test_log_probs_are_those_of_the_attempt_that_came_to_its_end(
    serve: Any, tmp_path: Path
) -> None:
    model = FakeModel(
        Script(max_top_log_probs=1), lambda call: Fault.BROKEN if call % 3 == 0 else None
    )
    store = create_run(tmp_path)
    async with serve(model):
        await run(tmp_path, store, samples=10, log_probs=1)
    samples = [*read_samples(store.folder, read_manifest(store.folder))]
    assert {sample.num_attempts > 1 for sample in samples} == {True, False}
    for sample in samples:
        assert sample.log_probs is not None
        assert [one.token for one in sample.log_probs] == [*sample.generated_text.split(), "<eos>"]


class Impossible(FakeModel):
    """One call's last token, or the likeliest in its place, has a log-probability of -inf."""

    def __init__(self, *, is_top: bool) -> None:
        super().__init__(Script(max_top_log_probs=1))
        self.is_top = is_top

    async def Generate(  # noqa: N802
        self, request: pb.GenerateRequest, context: Any
    ) -> AsyncIterator[pb.GenerateResponse]:
        async for event in super().Generate(request, context):
            if self.num_calls == 3 and event.delta.log_probs:
                last = event.delta.log_probs[-1]
                (last.top[0] if self.is_top else last).log_prob = float("-inf")
            yield event


@pytest.mark.parametrize("is_top", [False, True])
async def test_a_log_probability_that_json_has_not_errors_its_sample(
    serve: Any, tmp_path: Path, is_top: bool
) -> None:
    store = create_run(tmp_path)
    async with serve(Impossible(is_top=is_top)):
        await run(tmp_path, store, samples=5, concurrency=1, log_probs=1)
    [cell] = summarize(store.folder).cells
    assert (cell.metrics.n, cell.metrics.errored) == (4, 1)
    said = (store.folder / "errors.jsonl").read_text()
    assert "is -inf: no number" in said


async def test_an_errored_sample_is_stored_apart_and_asked_again(
    serve: Any, tmp_path: Path
) -> None:
    model = FakeModel(Script(), lambda call: Fault.INTERNAL if call in {3, 4} else None)
    store = create_run(tmp_path)
    async with serve(model):
        await run(tmp_path, store, samples=10)
        first = summarize(store.folder)
        assert (first.cells[0].metrics.n, first.cells[0].metrics.errored) == (8, 2)
        assert first.cells[0].metrics.accuracy == 1
        assert first.num_missing == 2
        errors = (store.folder / "errors.jsonl").read_text().splitlines()
        assert {json.loads(line)["code"] for line in errors} == {"INTERNAL"}
        await run(tmp_path, RunStore(store.folder), samples=10)
    second = summarize(store.folder)
    assert second.is_complete
    assert second.cells[0].metrics.errored == 0
    assert model.num_calls == 12


async def test_a_refused_request_errors_its_sample_and_the_run_goes_on(
    serve: Any, tmp_path: Path
) -> None:
    model = FakeModel(Script(), lambda call: Fault.REFUSED if call == 5 else None)
    store = create_run(tmp_path)
    async with serve(model):
        await run(tmp_path, store, samples=50, concurrency=1)
    metrics = summarize(store.folder).cells[0].metrics
    assert (metrics.n, metrics.errored) == (49, 1)


async def test_a_cell_that_is_refused_again_and_again_is_left_out(
    serve: Any, tmp_path: Path
) -> None:
    model = FakeModel(Script(), lambda _call: Fault.REFUSED)
    store = create_run(tmp_path)
    async with serve(model):
        with pytest.raises(IncompleteError, match="left out: the server refused 10 requests in a"):
            await run(tmp_path, store, samples=50, concurrency=1)
    assert model.num_calls == 10


async def test_a_server_of_ours_that_is_full_is_asked_by_fewer_at_once(
    serve: Any, tmp_path: Path
) -> None:
    model = FakeModel(Script())
    model.faults = lambda _call: Fault.EXHAUSTED if model.num_running > 4 else None
    store = create_run(tmp_path)
    async with serve(model):
        await run(tmp_path, store, samples=60, concurrency=32)
    metrics = summarize(store.folder).cells[0].metrics
    assert (metrics.n, metrics.errored) == (60, 0)
    assert model.num_calls < 60 + 60


def test_a_run_is_worked_on_by_one_process_at_a_time(tmp_path: Path) -> None:
    store = create_run(tmp_path)
    with pytest.raises(InputError, match="by another process"):
        RunStore(store.folder)
    store.close()
    assert not store.folder.exists()


async def test_a_message_longer_than_the_server_takes_is_not_sent_again(tmp_path: Path) -> None:
    server = RpcServer("none", max_request_bytes=1000)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(
        FakeModel(Script()), server.grpc_server
    )
    target = server.listen(parse_target(f"unix:{tmp_path}/short.sock"))
    await server.grpc_server.start()
    client = Client(target)
    with pytest.raises(RefusedError, match="larger than max"):
        await client.count_tokens(Prompt(text="b" * 1001), timeout_s=600)
    await client.close()
    await server.grpc_server.stop(None)
