"""Endpoints of one run: those with an address at once, those served here in turn."""

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.progress import PlainProgress
from harness.endpoints.endpoint import Endpoint
from harness.errors import IncompleteError
from harness.fakes.fake_model import FakeModel, Script, start_fake
from harness.runner.session import run_session
from harness.runs.store import create_run

from ..session_plans import session_plan


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Any]:
    """Asks fakes at addresses of their own, four samples each; gives what is stored, in order."""

    async def asking(models: dict[str, FakeModel], **plan: Any) -> list[dict[str, Any]]:
        store = create_run(tmp_path / "runs")
        endpoints = []
        async with AsyncExitStack() as servers:
            for name, model in models.items():
                server = await start_fake(model, f"unix:{tmp_path}/{name}.sock")
                servers.push_async_callback(server.stop, None)
                endpoints.append(Endpoint(name=name, address=f"unix:{tmp_path}/{name}.sock"))
            begun = session_plan(samples=4, concurrency=2)
            options = replace(begun.options, endpoint=tuple(models))
            todo = replace(begun, options=options, endpoints=tuple(endpoints), **plan)
            try:
                await run_session(todo, store, PlainProgress())
            finally:
                text = (store.folder / "samples.jsonl").read_text()
                store.close()
        return [json.loads(line) for line in text.splitlines()]

    return asking


def by_endpoint(samples: list[dict[str, Any]]) -> dict[str, int]:
    names = [sample["cell"].partition("/")[0] for sample in samples]
    return {name: names.count(name) for name in names}


async def test_an_endpoint_does_not_wait_for_another_one(ask: Any) -> None:
    slow, quick = FakeModel(Script()), FakeModel(Script())
    slow.may_answer.clear()

    def answer_after(call: int) -> None:
        if call == 4:
            slow.may_answer.set()

    quick.on_call = answer_after
    samples = await ask({"slow": slow, "quick": quick})
    assert by_endpoint(samples) == {"slow": 4, "quick": 4}


async def test_concurrency_is_each_endpoints_own(ask: Any) -> None:
    one, other = FakeModel(Script()), FakeModel(Script())
    for model in (one, other):
        model.may_answer.clear()

    def answer_when_both_are_full(_call: int) -> None:
        if one.num_running == other.num_running == 2:
            one.may_answer.set()
            other.may_answer.set()

    one.on_call = other.on_call = answer_when_both_are_full
    samples = await ask({"one": one, "other": other})
    assert by_endpoint(samples) == {"one": 4, "other": 4}
    assert (one.max_running, other.max_running) == (2, 2)


async def test_a_spent_budget_ends_all_of_them_and_is_told_once(ask: Any) -> None:
    models = {name: FakeModel(Script()) for name in ("one", "other", "third")}
    with pytest.raises(IncompleteError) as stopped:
        await ask(models, max_tokens_total=200)
    assert str(stopped.value).count("the budget is spent") == 1
    assert all(not model.num_running for model in models.values())


@pytest.mark.parametrize(("num", "is_overlapping"), [("1", False), ("2", True)])
def test_endpoints_that_are_served_here_wait_for_each_other(
    workplace: Any, num: str, is_overlapping: bool
) -> None:
    names = ("here", "there")
    for name in names:
        (workplace.folder / name).mkdir()
        (workplace.folder / name / "fake.json").write_text("{}")
    tables = "".join(f'[{name}]\ncheckpoint = "{name}"\n' for name in names)
    (workplace.folder / "endpoints.toml").write_text(tables)
    asked = ("eval", "--endpoint", ",".join(names), "--task", "assoc_recall", "--size", "2")
    asked += ("--samples", "8", "--concurrency", "1", "--parallel-endpoints", num)
    result = workplace.run(*asked)
    assert result.exit_code == 0, result.stderr
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for sample in workplace.samples():
        span = sample["times"]["started_at_s"], sample["times"]["finished_at_s"]
        times[sample["cell"].partition("/")[0]].append(span)
    ends = [max(end for _, end in spans) for spans in times.values()]
    begins = [min(begin for begin, _ in spans) for spans in times.values()]
    assert (max(begins) < min(ends)) == is_overlapping
