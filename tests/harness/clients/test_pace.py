"""Runs against servers that set the pace, on a clock of their own: what they cost in requests."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.progress import PlainProgress
from harness.endpoints.external import External
from harness.errors import IncompleteError
from harness.fakes.fake_openai import FakeOpenAi, Reply, Script, solve, text_of
from harness.fakes.paced_servers import (
    OneSlot,
    RateLimited,
    SmallContext,
    paced_script,
)
from harness.runner.session import SessionPlan, run_session
from harness.runs.results import CellResult
from harness.runs.store import RunStore, create_run
from harness.runs.summary import summarize
from harness.way import Prompting

from ..session_plans import session_plan
from .virtual_time import CLOCK, now_s, run_virtual

REFUSED = Reply(status=400, body='{"error": {"message": "not this one"}}')
NO_LIST = Reply(body='{"data": []}')


def work(address: str, *, samples: int, **changes: Any) -> SessionPlan:
    plan = session_plan(
        samples=samples,
        concurrency=64,
        deadline_s=120,
        clock=CLOCK,
        options={"prompting": (Prompting.DIRECT,), **changes.pop("options", {})},
        address=address,
        external=External(model="m"),
    )
    return replace(plan, **changes)


class Asked:
    """What a run came to: its cell, what the server counted, and how long it took."""

    cell: CellResult
    server: FakeOpenAi
    took_s: float
    missing: int
    error: IncompleteError | None = None


def ask(
    folder: Path,
    script: Script,
    *,
    samples: int = 200,
    store: RunStore | None = None,
    **changes: Any,
) -> Asked:
    asked = Asked()
    store = store or create_run(folder)

    async def run() -> None:
        async with FakeOpenAi(script, NO_LIST) as server:
            began = now_s()
            try:
                await run_session(
                    work(server.address, samples=samples, **changes), store, PlainProgress()
                )
            except IncompleteError as error:
                asked.error = error
            asked.server, asked.took_s = server, now_s() - began

    try:
        run_virtual(run())
    finally:
        store.close()
    result = summarize(store.folder)
    [asked.cell] = result.cells
    asked.missing = result.num_missing
    return asked


def samples_of(asked: Asked, folder: Path) -> list[dict[str, Any]]:
    lines = (folder / asked.cell.run / "samples.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_sixty_requests_a_minute_are_kept_to_in_little_more_requests_than_samples(
    tmp_path: Path,
) -> None:
    asked = ask(tmp_path, RateLimited(60, now_s=now_s))
    assert (asked.cell.metrics.n, asked.cell.metrics.errored, asked.missing) == (200, 0, 0)
    # The first one counts the prompt's tokens.
    assert len(asked.server.requests) <= 1 + 200 + 30
    # Nobody can do it in less than two minutes and a bit.
    assert 120 < asked.took_s < 330


def test_requests_per_minute_are_spread_and_none_is_turned_away(tmp_path: Path) -> None:
    asked = ask(tmp_path, RateLimited(60, now_s=now_s), requests_per_minute=58)
    assert asked.cell.metrics.n == 200
    assert len(asked.server.requests) == 201
    assert asked.took_s == pytest.approx(201 * 60 / 58, rel=0.05)


def test_a_server_of_one_slot_answers_all_and_is_not_left_with_a_long_queue(
    tmp_path: Path,
) -> None:
    asked = ask(tmp_path, OneSlot(2.0, now_s=now_s), samples=100)
    assert (asked.cell.metrics.n, asked.cell.metrics.errored) == (100, 0)
    assert asked.server.max_running <= 16
    # It is kept busy all the same.
    assert asked.took_s < 1.1 * 2 * 101


def test_answers_that_come_late_by_themselves_are_no_queue(tmp_path: Path) -> None:
    """A model that thinks before its first byte, long or short: fewer at once would cost time."""

    def script(request: dict[str, Any], number: int) -> Reply:
        return replace(solve(request, number), delay_s=1.0 + number * 7919 % 13)

    asked = ask(tmp_path, script, samples=600)
    assert asked.cell.metrics.n == 600
    # At eight at once it would take 525 seconds.
    assert asked.took_s < 350


@pytest.mark.parametrize("status", [500, 529, 408, 425, 503])
def test_a_server_that_is_down_for_seconds_costs_no_sample(tmp_path: Path, status: int) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        if number > 1 and 1 < now_s() < 5:
            return Reply(status=status, body='{"error": {"message": "away"}}')
        return replace(solve(request, number), delay_s=0.2)

    asked = ask(tmp_path, script)
    assert (asked.cell.metrics.n, asked.cell.metrics.errored) == (200, 0)
    assert len(asked.server.requests) < 201 + 80


@pytest.mark.parametrize("name", ["filter", "filter-at-end"])
def test_a_filtered_sample_is_counted_apart_and_not_asked_again(tmp_path: Path, name: str) -> None:
    asked = ask(tmp_path, paced_script(name), samples=24)
    metrics = asked.cell.metrics
    assert (metrics.n, metrics.filtered, metrics.errored, metrics.correct) == (24, 5, 0, 19)
    assert (asked.error, asked.missing) == (None, 0)
    filtered = [one for one in samples_of(asked, tmp_path) if one["verdict"] == "filtered"]
    assert {one["finish_reason"] for one in filtered} == {"content_filter"}
    assert all(one["faults"] for one in filtered)
    assert asked.cell.as_json()["filtered"] == 5


def test_a_request_that_is_refused_errors_its_sample_and_the_run_goes_on(tmp_path: Path) -> None:
    asked = ask(tmp_path, paced_script("refusal"), samples=24)
    assert (asked.cell.metrics.n, asked.cell.metrics.errored, asked.error) == (19, 5, None)


def test_a_cell_that_is_refused_again_and_again_is_left_out_and_the_rest_runs(
    tmp_path: Path,
) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        is_first = request["max_tokens"] == 1
        is_small = len(text_of(request)) < 1000
        return solve(request, number) if is_first or is_small else REFUSED

    store = create_run(tmp_path)

    async def run(store: RunStore) -> IncompleteError | None:
        async with FakeOpenAi(script, NO_LIST) as server:
            plan = work(server.address, samples=40)
            options = replace(plan.options, size=(64, 2))
            try:
                await run_session(replace(plan, options=options), store, PlainProgress())
            except IncompleteError as error:
                assert len(server.requests) < 2 + 40 + 40
                return error
        return None

    error = run_virtual(run(store))
    store.close()
    assert "size=64" in str(error)
    assert "left out: the server refused 10 requests in a row; the last one: not this one" in str(
        error
    )
    cells = summarize(store.folder).cells
    assert [(cell.asked.size, cell.metrics.n) for cell in cells] == [(64, 0), (2, 40)]
    store = RunStore(store.folder)  # it can be gone on with, and says the same
    assert "left out" in str(run_virtual(run(store)))
    store.close()


def test_a_key_that_is_taken_away_in_a_run_costs_a_few_requests_not_every_cell(
    tmp_path: Path,
) -> None:
    gone = Reply(status=401, body='{"error": {"message": "key revoked"}}')
    numbers = []

    def script(request: dict[str, Any], number: int) -> Reply:
        numbers.append(number)
        return solve(request, number) if number < 12 else gone

    asked = ask(tmp_path, script, samples=100, concurrency=4)
    assert isinstance(asked.error, IncompleteError)
    assert "refuses us: HTTP_401: key revoked" in str(asked.error)
    assert max(numbers) < 30


def test_a_context_that_only_a_refusal_states_is_learnt_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ask(
        tmp_path, SmallContext(700), samples=20, options={"max_new_tokens": 2000}, concurrency=4
    )
    assert (asked.cell.metrics.n, asked.cell.metrics.errored) == (20, 0)
    assert len(asked.server.requests) <= 1 + 20 + 4
    assert capsys.readouterr().err.count("its context takes 700 tokens") == 1
    assert max(request["max_tokens"] for request in asked.server.requests[-10:]) < 700


def test_a_context_that_the_list_states_is_kept_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = Reply(body=json.dumps({"data": [{"id": "m", "max_model_len": 700}]}))
    store = create_run(tmp_path)

    async def run() -> list[dict[str, Any]]:
        async with FakeOpenAi(SmallContext(700), listed) as server:
            plan = work(server.address, samples=5, options={"max_new_tokens": 2000})
            await run_session(plan, store, PlainProgress())
            return server.requests

    assert len(run_virtual(run())) == 6
    store.close()
    assert "its context takes 700 tokens" in capsys.readouterr().err


def test_a_budget_is_never_exceeded_and_the_run_can_be_gone_on_with(tmp_path: Path) -> None:
    asked = ask(tmp_path, solve, samples=200, max_tokens_total=20_000)
    assert asked.error is not None
    assert "the budget is spent" in str(asked.error)
    spent = sum(
        one["num_prompt_tokens"] + one["num_generated_tokens"]
        for one in samples_of(asked, tmp_path)
    )
    assert 10_000 < spent <= 20_000
    assert asked.missing == 200 - asked.cell.metrics.n > 0
    again = ask(tmp_path, solve, samples=200, store=RunStore(tmp_path / asked.cell.run))
    assert (again.missing, again.error) == (0, None)


def test_repeats_are_stored_and_come_to_a_mean_a_pass_rate_and_an_agreement(
    tmp_path: Path,
) -> None:
    seen: dict[str, int] = {}

    def script(request: dict[str, Any], number: int) -> Reply:
        """Of each sample one of three answers is wrong."""
        if request["max_tokens"] == 1:
            return solve(request, number)
        text = request["messages"][-1]["content"]
        seen[text] = seen.get(text, 0) + 1
        wrong = Reply(texts=("Answer: wrong",))
        return wrong if seen[text] == 2 else solve(request, number)

    asked = ask(tmp_path, script, samples=10, options={"repeats": 3})
    metrics = asked.cell.metrics
    assert (metrics.n, metrics.correct, metrics.repeats) == (30, 20, 3)
    assert (metrics.accuracy, metrics.pass_at_k) == (pytest.approx(2 / 3), 1)
    assert metrics.agreement == pytest.approx(1 / 3)
    # Ten samples, not thirty.
    assert metrics.ci95[1] - metrics.ci95[0] > 0.4
    assert sorted(one["repeat"] for one in samples_of(asked, tmp_path)) == sorted([0, 1, 2] * 10)


def test_an_answer_has_its_deadline_from_its_first_byte_and_the_error_says_so(
    tmp_path: Path,
) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        reply = solve(request, number)
        return replace(reply, stall_s=1e6) if number == 2 else reply

    asked = ask(tmp_path, script, samples=4, deadline_s=50)
    assert (asked.cell.metrics.n, asked.cell.metrics.errored) == (3, 1)
    error = json.loads((tmp_path / asked.cell.run / "errors.jsonl").read_text())
    assert "the answer is not whole 50 s (--deadline) after it began" in error["detail"]


def test_an_endpoint_that_says_nothing_to_anybody_is_not_waited_for_without_end(
    tmp_path: Path,
) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return solve(request, number) if number == 1 else replace(Reply(), delay_s=1e6)

    asked = ask(tmp_path, script, samples=4, deadline_s=50)
    assert asked.cell.metrics.errored == 4
    assert asked.took_s == pytest.approx(50, abs=1)
    [line, *_] = (tmp_path / asked.cell.run / "errors.jsonl").read_text().splitlines()
    assert "nothing came within 50 s (--deadline), neither to this request" in line
