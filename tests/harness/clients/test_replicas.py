"""Endpoints with several addresses, against the shipped fakes: who is asked, left out, refused."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harnessapi.rpc.targets import parse_target

from harness.cli.progress import PlainProgress
from harness.clients.grpc_client import Client
from harness.clients.replicas import Naming, Replicas
from harness.endpoints.addresses import resolved
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.external import External
from harness.errors import EndpointLostError, InputError, UnreachableError
from harness.fakes.fake_model import FakeModel, Script, start_fake
from harness.fakes.fake_openai import FakeOpenAi, Reply, solve
from harness.fleet.open_replicas import open_replicas
from harness.runner.session import SessionPlan, run_session
from harness.runs.store import create_run
from harness.runs.summary import summarize

from ..session_plans import session_plan
from .virtual_time import CLOCK, run_virtual


def work(addresses: Sequence[str], **changes: Any) -> SessionPlan:
    fields = {"samples": 40, "concurrency": 8, **changes}
    return session_plan(address=addresses[0], more_addresses=tuple(addresses[1:]), **fields)


class Asked:
    """What a run left behind, and what it said."""

    def __init__(self, folder: Path) -> None:
        lines = (folder / "samples.jsonl").read_text().splitlines()
        self.samples = [json.loads(line) for line in lines]
        self.result = summarize(folder)

    @property
    def answered_by(self) -> Counter[str]:
        return Counter(one["answered_by"] for one in self.samples)

    @property
    def is_whole(self) -> bool:
        """Nothing is lost, nothing is doubled."""
        num_different = len({one["address"] for one in self.samples})
        return self.result.is_complete and num_different == len(self.samples)


async def ask(folder: Path, plan: SessionPlan) -> Asked:
    store = create_run(folder)
    try:
        await run_session(plan, store, PlainProgress())
    finally:
        store.close()
    return Asked(store.folder)


class Two:
    """Two model servers without a model, each on a socket of its own."""

    def __init__(self, folder: Path, *scripts: Script) -> None:
        self.addresses = [f"unix:{folder}/{number}.sock" for number in range(2)]
        self.models = [FakeModel(one) for one in scripts or (Script(), Script())]
        self.servers: list[Any] = []

    async def __aenter__(self) -> "Two":
        for number in range(2):
            self.servers.append(await self.start(number))
        return self

    async def start(self, number: int) -> Any:
        return await start_fake(self.models[number], self.addresses[number])

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await server.stop(None)


async def test_requests_are_balanced_and_each_sample_says_who_answered(tmp_path: Path) -> None:
    """One at a time: which of more comes back first is the machine's."""
    async with Two(tmp_path) as two:
        asked = await ask(tmp_path, work(two.addresses, concurrency=1))
    assert asked.is_whole
    assert asked.answered_by == dict.fromkeys(two.addresses, 20)
    assert [model.num_calls for model in two.models] == [20, 20]


async def test_the_slower_one_has_no_more_under_way_than_the_other(tmp_path: Path) -> None:
    async with Two(tmp_path) as two:
        first, second = two.models
        first.may_answer.clear()

        def let_go(call: int) -> None:
            if call == 36:
                first.may_answer.set()

        second.on_call = let_go
        asked = await ask(tmp_path, work(two.addresses))
    assert asked.is_whole
    # Four of the eight wait at the one that does not answer; all others are the other's.
    assert first.max_running == 4
    assert second.num_calls >= 36


async def test_one_address_leaves_records_as_they_were(tmp_path: Path) -> None:
    async with Two(tmp_path) as two:
        asked = await ask(tmp_path, work(two.addresses[:1], samples=2))
    assert all("answered_by" not in one for one in asked.samples)


async def test_one_that_dies_midway_loses_nothing_and_is_asked_again_once_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Two(tmp_path) as two:
        first, second = two.models
        later: list[asyncio.Task[Any]] = []

        async def restart() -> None:
            await two.servers[0].stop(None)
            first.num_calls = 0
            while "is left out, and tried again" not in said():
                await asyncio.sleep(0)
            two.servers[0] = await two.start(0)
            while "is there, and asked again" not in said():
                await asyncio.sleep(0.01)
            second.may_answer.set()

        collected = ""

        def said() -> str:
            nonlocal collected
            collected += capsys.readouterr().err
            return collected

        def die(call: int) -> None:
            if call == 5 and not later:
                second.may_answer.clear()
                later.append(asyncio.create_task(restart()))

        first.on_call = die
        asked = await ask(tmp_path, work(two.addresses, samples=60))
        await later[0]
    assert asked.is_whole
    assert asked.result.cells[0].metrics.errored == 0
    assert {fault.split()[0] for one in asked.samples for fault in one["faults"]} == {
        two.addresses[0]
    }
    assert first.num_calls > 0
    assert sum(asked.answered_by.values()) == 60


async def test_one_that_is_not_there_at_first_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Two(tmp_path) as two:
        await two.servers[0].stop(None)
        plan = replace(work(two.addresses), connect_timeout_s=0)
        asked = await ask(tmp_path, plan)
    assert asked.is_whole
    assert asked.answered_by == {two.addresses[1]: 40}
    assert f"left out, and tried again: endpoint 'far' ({two.addresses[0]})" in (
        capsys.readouterr().err
    )


async def test_none_that_is_there_is_told_with_all_addresses(tmp_path: Path) -> None:
    two = Two(tmp_path)
    plan = replace(work(two.addresses), connect_timeout_s=0)
    with pytest.raises(UnreachableError) as caught:
        await ask(tmp_path, plan)
    assert all(address in str(caught.value) for address in two.addresses)


async def test_different_digests_are_refused_by_address(tmp_path: Path) -> None:
    async with Two(tmp_path, Script(), Script(version=2)) as two:
        with pytest.raises(InputError) as caught:
            await ask(tmp_path, work(two.addresses))
    [line] = [line for line in str(caught.value).splitlines() if "checkpoint_digest" in line]
    was, now = line.split("; ")
    assert was.endswith(f" at {two.addresses[0]}")
    assert now.endswith(f" at {two.addresses[1]}")
    assert was.split()[1] != now.split()[0]


async def test_one_that_comes_back_as_another_is_asked_nothing_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Two(tmp_path) as two:
        first = two.models[0]
        other = FakeModel(Script(version=2))
        later: list[asyncio.Task[Any]] = []

        async def restart() -> None:
            await two.servers[0].stop(None)
            two.models[0] = other
            two.servers[0] = await two.start(0)

        def die(call: int) -> None:
            if call == 5:
                two.models[1].may_answer.clear()
                later.append(asyncio.create_task(restart()))
                later[0].add_done_callback(lambda _task: two.models[1].may_answer.set())

        first.on_call = die
        asked = await ask(tmp_path, work(two.addresses))
        await later[0]
    assert asked.is_whole
    assert other.num_calls == 0


async def test_where_all_come_back_as_others_the_endpoint_is_lost(tmp_path: Path) -> None:
    async with Two(tmp_path) as two:
        clients = await opened(two.addresses)
        model = await clients.all[0].client.get_model()
        clients.begin(replace(model, checkpoint_digest="another"))
        for one in clients.all:
            one.is_out = True
        with pytest.raises(EndpointLostError):
            await clients.next(())
        await clients.close()


async def opened(addresses: Sequence[str]) -> Replicas:
    endpoint = Endpoint(name="far", address=addresses[0], more_addresses=tuple(addresses[1:]))
    return await open_replicas(
        endpoint, lambda place: Client(parse_target(place.address)), lambda _text: None
    )


def over_http(tmp_path: Path, script: Any, *, samples: int = 40, **changes: Any) -> tuple[Any, Any]:
    """The first of two has the script, the second one solves."""

    async def run() -> tuple[Asked, list[FakeOpenAi]]:
        async with FakeOpenAi(script) as first, FakeOpenAi(solve) as second:
            plan = work(
                [first.address, second.address],
                samples=samples,
                external=External(model="m"),
                clock=CLOCK,
                **changes,
            )
            return await ask(tmp_path, plan), [first, second]

    return run_virtual(run())


def test_over_http_one_that_fails_always_hardly_costs_a_request(tmp_path: Path) -> None:
    """It answers at once: with the fewest under way it would draw all to itself."""

    def script(request: dict[str, Any], number: int) -> Reply:
        return solve(request, number) if number == 1 else Reply(status=500, body="{}")

    asked, (first, second) = over_http(tmp_path, script)
    assert asked.is_whole
    assert asked.answered_by == {second.address: 40}
    assert len(first.requests) < 40


def test_over_http_one_that_turns_away_leaves_its_share_to_the_other(tmp_path: Path) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        busy = Reply(status=429, headers={"Retry-After": "30"}, body="{}")
        return solve(request, number) if number == 1 else busy

    asked, (first, second) = over_http(tmp_path, script)
    assert asked.is_whole
    assert asked.answered_by == {second.address: 40}
    assert len(first.requests) < 40


def test_over_http_one_that_says_nothing_costs_its_samples_time_and_no_answer(
    tmp_path: Path,
) -> None:
    def script(request: dict[str, Any], number: int) -> Reply:
        return replace(solve(request, number), delay_s=0.0 if number == 1 else 1e6)

    def answers(request: dict[str, Any], number: int) -> Reply:
        return replace(solve(request, number), delay_s=5.0)

    async def run() -> Asked:
        async with FakeOpenAi(script) as first, FakeOpenAi(answers) as second:
            plan = work(
                [first.address, second.address],
                external=External(model="m"),
                clock=CLOCK,
                deadline_s=20,
            )
            return await ask(tmp_path, plan)

    asked = run_virtual(run())
    assert asked.is_whole
    assert asked.result.cells[0].metrics.errored == 0
    assert len(asked.answered_by) == 1


def test_a_rate_is_of_the_endpoint_and_shared_by_its_addresses(tmp_path: Path) -> None:
    async def run() -> tuple[Asked, float]:
        async with FakeOpenAi(solve) as first, FakeOpenAi(solve) as second:
            plan = work([first.address, second.address], external=External(model="m"), clock=CLOCK)
            began_s = CLOCK.now_s()
            asked = await ask(tmp_path, replace(plan, requests_per_minute=60))
            return asked, CLOCK.now_s() - began_s

    asked, took_s = run_virtual(run())
    assert asked.is_whole
    assert took_s == pytest.approx(40, abs=4)


async def numbers_of(host: str, _port: int) -> Sequence[str]:
    if host == "unknown":
        raise OSError(2, "Name or service not known")
    return ["10.0.0.1", "10.0.0.2", "10.0.0.1", "fd00::1"]


async def test_each_number_that_a_name_has_is_a_place(tmp_path: Path) -> None:
    places = await resolved(["grpc://models:50051"], numbers_of)
    assert [one.address for one in places] == [
        "10.0.0.1:50051",
        "10.0.0.2:50051",
        "[fd00::1]:50051",
    ]
    places = await resolved(["https://models/v1?x=1", "http://models:81/v1"], numbers_of)
    assert [(one.address, one.number) for one in places] == [
        ("https://10.0.0.1/v1?x=1", "10.0.0.1"),
        ("https://10.0.0.2/v1?x=1", "10.0.0.2"),
        ("https://[fd00::1]/v1?x=1", "fd00::1"),
        ("http://10.0.0.1:81/v1", "10.0.0.1"),
        ("http://10.0.0.2:81/v1", "10.0.0.2"),
        ("http://[fd00::1]:81/v1", "fd00::1"),
    ]
    assert {one.named for one in places} == {"https://models/v1?x=1", "http://models:81/v1"}
    with pytest.raises(UnreachableError, match=r"'unknown:1': Name or service not known"):
        await resolved(["unknown:1"], numbers_of)


async def test_a_name_that_is_resolved_is_dialled_by_number_and_asked_by_name(
    tmp_path: Path,
) -> None:
    async with FakeOpenAi(solve) as server:
        named = server.address.replace("127.0.0.1", "localhost")
        plan = session_plan(
            samples=4, concurrency=2, address=named, resolve=True, external=External(model="m")
        )
        asked = await ask(tmp_path, replace(plan, connect_timeout_s=0))
    assert asked.is_whole
    assert asked.answered_by == {server.address: 4}
    assert {headers["host"] for headers in server.headers} == {named.split("/")[2]}


def test_an_address_that_a_name_gains_joins_and_one_that_it_loses_leaves(tmp_path: Path) -> None:
    async def run() -> None:
        async with Two(tmp_path) as two:
            known = await opened(two.addresses)
            first, second = known.all
            naming = Naming(addresses=listed, replica=lambda _address: second)
            replicas = Replicas([first], naming=naming)
            first.pace.clock = second.pace.clock = CLOCK
            now[:] = [first.address]
            replicas.begin(await first.client.get_model())
            await asyncio.sleep(40)
            assert replicas.all == [first]
            now[:] = two.addresses
            # Health is asked over real connections, while time jumps.
            while replicas.all != [first, second] or second.is_out:
                await asyncio.sleep(1)
            now[:] = [second.address]
            await two.servers[0].stop(None)
            replicas.leave_out(first)
            while replicas.all != [second]:
                await asyncio.sleep(1)
            await replicas.close()

    now: list[str] = []

    async def listed() -> Sequence[str]:
        return list(now)

    run_virtual(run())
