"""Runs against an OpenAI-compatible server: prompts, searches, what errors and what stops them."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.progress import PlainProgress
from harness.endpoints.external import Api, External
from harness.errors import IncompleteError, InputError, UnreachableError
from harness.fakes.fake_openai import FakeOpenAi, Reply, solve, text_of
from harness.fakes.worded_answers import NOT_READ, READ, READ_LENIENTLY, answers_as
from harness.runner.session import SessionPlan, run_session
from harness.runs.manifest import read_manifest
from harness.runs.results import CellResult
from harness.runs.store import RunStore, create_run
from harness.runs.summary import summarize
from harness.sample import Split
from harness.tasks import make_task
from harness.way import Prompting, Style

from ..session_plans import session_plan

BUSY = Reply(status=503, body="{}")
# It asks for more time than a sample has: no time needs to pass until it is given up.
AWAY = Reply(status=503, headers={"Retry-After": "3600"}, body="{}")
FAULTS = {3: BUSY, 5: Reply(status=429, body="{}"), 7: Reply(is_cut=True)}


def work(
    address: str, *, samples: int = 12, concurrency: int = 4, api: Api = Api.CHAT, **options: Any
) -> SessionPlan:
    return session_plan(
        samples=samples,
        concurrency=concurrency,
        options=options,
        address=address,
        external=External(model="m", api=api),
        retrieval=options.get("prompting") == (Prompting.SEARCH,),
    )


async def run(folder: Path, todo: SessionPlan) -> CellResult:
    store = create_run(folder)
    try:
        await run_session(todo, store, PlainProgress())
    finally:
        store.close()
    [cell] = summarize(store.folder).cells
    return cell


def samples_of(cell: CellResult, folder: Path) -> list[dict[str, Any]]:
    lines = (folder / cell.run / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("prompting", [Prompting.DIRECT, Prompting.COT])
async def test_a_model_that_reads_is_right_without_a_search(
    tmp_path: Path, api: Api, prompting: Prompting
) -> None:
    async with FakeOpenAi(solve) as server:
        cell = await run(tmp_path, work(server.address, api=api, prompting=(prompting,)))
    assert (cell.metrics.n, cell.metrics.accuracy, cell.metrics.errored) == (12, 1, 0)
    assert (cell.model.family, cell.asked.style.value) == ("external", "natural")


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize("mode", ["dense", "regex"])
async def test_searches_are_made_by_a_service_that_is_started_for_it(
    tmp_path: Path, api: Api, mode: str
) -> None:
    async with FakeOpenAi(solve) as server:
        options = {"prompting": (Prompting.SEARCH,), "retrieval": mode}
        cell = await run(tmp_path, work(server.address, api=api, samples=4, **options))
    assert cell.metrics.searches_per_sample == 1
    samples = samples_of(cell, tmp_path)
    if mode == "dense":  # the fake's queries are keys, whatever the prompt explains
        assert cell.metrics.accuracy == 1
        assert {step["outcome"] for s in samples for step in s["searches"]} == {"found"}
    channels = [channel for channel, _ in samples[0]["transcript"]]
    assert channels == ["answer", "query", "inserted", "answer"]


async def test_examples_come_from_the_train_split_and_are_recorded(tmp_path: Path) -> None:
    async with FakeOpenAi(solve) as server:
        cell = await run(tmp_path, work(server.address, samples=2))
    manifest = read_manifest(tmp_path / cell.run)
    task = make_task("assoc_recall", size=4)
    examples = [task.sample(Split.TRAIN, 0, index) for index in range(3)]
    assert manifest.examples == {cell.asked.key: tuple(e.address.key for e in examples)}
    for sample in samples_of(cell, tmp_path):
        for example in examples:
            assert example.context.removeprefix("assoc_recall ; ") in sample["prompt"]
        assert sample["prompt"].count("\nAnswer: ") == 3


async def test_no_examples_are_given_where_none_are_wanted(tmp_path: Path) -> None:
    async with FakeOpenAi(solve) as server:
        cell = await run(tmp_path, work(server.address, samples=1, examples=0))
    [sample] = samples_of(cell, tmp_path)
    assert "\nAnswer: " not in sample["prompt"]


async def test_transient_faults_change_no_result(tmp_path: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return FAULTS[number] if number in FAULTS else solve(request, number)

    async with FakeOpenAi(script) as server:
        cell = await run(tmp_path, work(server.address))
    assert (cell.metrics.accuracy, cell.metrics.errored) == (1, 0)
    faults = [fault for s in samples_of(cell, tmp_path) for fault in s["faults"]]
    assert sorted(fault[:8] for fault in faults) == ["BROKEN_S", "HTTP_429", "HTTP_503"]


async def test_no_more_than_the_bound_are_in_flight(tmp_path: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        # The first counts the prompt's tokens; then nobody is answered until they are three.
        if number == 2:
            server.may_answer.clear()
        if server.num_running == 3:
            server.may_answer.set()
        return solve(request, number)

    async with FakeOpenAi(script) as server:
        await run(tmp_path, work(server.address, concurrency=3))
    assert server.max_running == 3


async def test_a_fault_of_the_server_errors_its_sample_alone(tmp_path: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return Reply(status=501, body="{}") if number == 4 else solve(request, number)

    async with FakeOpenAi(script) as server:
        todo = work(server.address, samples=8)
        cell = await run(tmp_path, todo)
        assert (cell.metrics.n, cell.metrics.errored) == (7, 1)
        store = RunStore(tmp_path / cell.run)
        await run_session(todo, store, PlainProgress())
        store.close()
    assert summarize(tmp_path / cell.run).is_complete


async def test_a_refusal_stops_before_the_first_sample_in_the_servers_words(tmp_path: Path) -> None:
    refusal = Reply(status=404, body='{"error": {"message": "no model m"}}')
    async with FakeOpenAi(lambda _request, _number: refusal) as server:
        with pytest.raises(InputError, match="refuses the prompt: no model m"):
            await run(tmp_path, work(server.address))
        assert len(server.requests) == 1


async def test_a_server_that_cuts_prompts_is_found_out(tmp_path: Path) -> None:
    async with FakeOpenAi(lambda _request, _number: Reply(usage=(20, 1))) as server:
        with pytest.raises(InputError, match=r"20 tokens in a prompt of .* it cuts prompts"):
            await run(tmp_path, work(server.address))


async def test_estimated_counts_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = Reply(texts=("Answer:", " x"), usage=None)
    async with FakeOpenAi(lambda _request, _number: reply) as server:
        cell = await run(tmp_path, work(server.address, samples=1))
    assert "counts no tokens: tokens/s are an estimate" in capsys.readouterr().err
    [sample] = samples_of(cell, tmp_path)
    assert (sample["num_generated_tokens"], sample["are_counts_estimated"]) == (2, True)


async def test_an_endpoint_that_does_not_answer_the_first_prompt_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with FakeOpenAi(lambda _request, _number: AWAY) as busy, FakeOpenAi(solve) as server:
        todo = work(server.address, samples=2)
        [near] = todo.endpoints
        todo = replace(
            todo,
            options=replace(todo.options, endpoint=("busy", "far"), size=(2, 4)),
            endpoints=(replace(near, name="busy", address=busy.address), near),
        )
        store = create_run(tmp_path)
        with pytest.raises(IncompleteError, match=r"left out, 2 cells of busy: busy/.*no answer"):
            await run_session(todo, store, PlainProgress())
        store.close()
    assert "left out, 2 cells of busy" in capsys.readouterr().err
    result = summarize(store.folder)
    assert [(cell.asked.endpoint, cell.metrics.n) for cell in result.cells] == [("far", 2)] * 2
    assert result.num_missing == 4


async def test_a_server_that_stays_away_stops_the_run_and_what_is_stored_stays(
    tmp_path: Path,
) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return solve(request, number) if number <= 6 else AWAY

    store = create_run(tmp_path)
    async with FakeOpenAi(script) as server:
        with pytest.raises(IncompleteError, match="did not answer within"):
            await run_session(work(server.address, concurrency=1), store, PlainProgress())
    store.close()
    assert summarize(store.folder).cells[0].metrics.n == 5


async def test_nobody_at_the_address_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="'far'"):
        await run(tmp_path, replace(work("http://127.0.0.1:9/v1"), connect_timeout_s=0))


async def test_symbolic_words_reach_a_server_of_one_of_our_checkpoints(tmp_path: Path) -> None:
    def script(request: dict[str, Any], _number: int) -> Reply:
        *context, _cot, key = text_of(request).split()
        value = context[context.index(key) + 1]
        return Reply(texts=(f"{key} {value} <answer> {value}",))

    async with FakeOpenAi(script) as server:
        todo = work(server.address, api=Api.COMPLETIONS)
        external = External(model="m", api=Api.COMPLETIONS, style=Style.SYMBOLIC)
        endpoints = tuple(replace(endpoint, external=external) for endpoint in todo.endpoints)
        cell = await run(tmp_path, replace(todo, endpoints=endpoints))
    assert cell.metrics.accuracy == 1
    assert server.requests[0]["skip_special_tokens"] is False


async def test_the_command_line_ends_as_for_any_endpoint(workplace: Any) -> None:
    async def ended(*arguments: str) -> tuple[int, str, str]:
        process = workplace.start("eval", "--task", "assoc_recall", "--samples", "3", *arguments)
        output, errors = await asyncio.to_thread(process.communicate)
        return process.returncode, output, errors

    async with FakeOpenAi(solve) as server:
        table = f'[far]\naddress = "{server.address}"\nmodel = "m"\nfamily = "GPT-like"\n'
        keyed = f'[keyed]\naddress = "{server.address}"\nmodel = "m"\napi_key_env = "NO_KEY"\n'
        (workplace.folder / "endpoints.toml").write_text(table + keyed)
        status, output, _ = await ended("--endpoint", "far", "--json")
        assert status == 0
        row = json.loads(output)
        assert (row["family"], row["style"], row["accuracy"]) == ("GPT-like", "natural", 1)
        status, output, _ = await ended("--endpoint", "far")
        assert (status, "GPT-like" in output) == (0, True)
        status, _, errors = await ended("--endpoint", "keyed")
        assert (status, "variable NO_KEY is not set" in errors) == (2, True)
        status, _, errors = await ended("--endpoint", "far", "--style", "symbolic")
        assert (status, 'say style = "symbolic"' in errors) == (2, True)
        broken = len(server.requests) + 3
        server.script = lambda request, number: (
            Reply(status=501, body="{}") if number == broken else solve(request, number)
        )
        assert (await ended("--endpoint", "far"))[0] == 4


def test_a_check_of_an_address_where_nobody_is_exits_3(workplace: Any) -> None:
    table = '[gone]\naddress = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    (workplace.folder / "endpoints.toml").write_text(table)
    workplace.connect_timeout_s = 0
    result = workplace.run("endpoints", "check")
    assert result.exit_code == 3
    assert "endpoint 'gone' (http://127.0.0.1:9/v1 m)" in result.stderr
    assert "connects to: http://127.0.0.1:9/v1 m" in workplace.run("endpoints", "list").output


@pytest.mark.parametrize("name", [*READ, *READ_LENIENTLY, *NOT_READ])
@pytest.mark.parametrize("api", list(Api))
async def test_an_answer_is_read_however_a_model_words_it(
    tmp_path: Path, name: str, api: Api
) -> None:
    wording = {**READ, **READ_LENIENTLY, **NOT_READ}[name]
    async with FakeOpenAi(answers_as(wording)) as server:
        cell = await run(tmp_path, work(server.address, samples=6, api=api))
    assert cell.metrics.accuracy == (name in READ)
    assert cell.metrics.lenient_accuracy == (name not in NOT_READ)
