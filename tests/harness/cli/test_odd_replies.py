"""Every oddity of a server's that is known, in the middle of a run: it costs a sample at most."""

import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from harness.cli.progress import PlainProgress
from harness.endpoints.external import Api, External
from harness.fakes.fake_openai import FakeOpenAi, Reply, encode, events_of, solve
from harness.fakes.odd_replies import ODDITIES, Cost, odd_script
from harness.runner.session import SessionPlan, run_session
from harness.runs.results import CellResult
from harness.runs.store import create_run
from harness.runs.summary import summarize
from harness.way import Prompting

from ..session_plans import session_plan

KEY = "sk-odd/secret-0815"
NUM_SAMPLES = 7
# A conversation is read like one message.
BOTH = pytest.mark.parametrize("api", [Api.TURNS, Api.COMPLETIONS])
OF_CHAT = {"parts", "delta-text", "unknown-part"}
OF_SEARCHES = ("answer-alone", "search-in-reasoning", "http-429", "eos", "split-emoji")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_KEY", KEY)


def plan(
    address: str, api: Api, prompting: Prompting = Prompting.DIRECT, samples: int = NUM_SAMPLES
) -> SessionPlan:
    external = External(model="m", api=api, api_key_env="ODD_KEY")
    is_search = prompting is Prompting.SEARCH
    return session_plan(
        samples=samples,
        concurrency=2,
        options={"prompting": (prompting,), "retrieval": "dense" if is_search else None},
        address=address,
        external=external,
        retrieval=is_search,
    )


async def run(folder: Path, asked: SessionPlan) -> tuple[CellResult, Path]:
    store = create_run(folder)
    try:
        await run_session(asked, store, PlainProgress())
    finally:
        store.close()
    [cell] = summarize(store.folder).cells
    return cell, store.folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def assert_as_said(cost: Cost, cell: CellResult, folder: Path) -> None:
    metrics = cell.metrics
    assert metrics.n + metrics.errored == NUM_SAMPLES
    assert metrics.accuracy == 1
    assert (metrics.errored > 0) == (cost is Cost.ERRORED)
    faults = [fault for line in lines(folder / "samples.jsonl") for fault in line["faults"]]
    assert bool(faults) == (cost is Cost.RETRIED)
    for error in lines(folder / "errors.jsonl"):
        assert error["num_attempts"] == 1
        assert len(error["raw"]) <= 2000
        assert len(error["detail"]) <= 1000
    for file in folder.iterdir():
        stored = file.read_text(encoding="utf-8")
        assert "secret" not in stored
        assert "ecret-08" not in stored


@BOTH
@pytest.mark.parametrize("name", ODDITIES)
async def test_an_odd_reply_costs_what_is_said_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, api: Api
) -> None:
    if name in OF_CHAT and api is Api.COMPLETIONS:
        return
    async with FakeOpenAi(odd_script(name, every=3)) as server:
        cell, folder = await run(tmp_path, plan(server.address, api))
    assert_as_said(ODDITIES[name].cost, cell, folder)
    output = capsys.readouterr()
    assert "secret" not in output.out + output.err


@BOTH
@pytest.mark.parametrize("name", OF_SEARCHES)
async def test_so_it_is_where_the_model_searches(tmp_path: Path, name: str, api: Api) -> None:
    every = 1 if ODDITIES[name].cost is Cost.READ else 3
    async with FakeOpenAi(odd_script(name, every=every)) as server:
        cell, folder = await run(tmp_path, plan(server.address, api, Prompting.SEARCH))
    assert_as_said(ODDITIES[name].cost, cell, folder)
    assert cell.metrics.searches_per_sample == 1


async def test_what_a_fault_had_sent_is_stored_with_it(tmp_path: Path) -> None:
    async with FakeOpenAi(odd_script("choices-null", every=3)) as server:
        _, folder = await run(tmp_path, plan(server.address, Api.CHAT))
    error = lines(folder / "errors.jsonl")[0]
    assert (error["code"], error["detail"]) == ("BAD_RESPONSE", "choices cannot be [null]")
    assert error["raw"].startswith('data: {"choices": [null]')


async def test_a_fault_that_stays_costs_its_sample_alone(tmp_path: Path) -> None:
    # It asks for more time than a sample has: no time needs to pass until it is given up.
    stays = Reply(status=500, headers={"Retry-After": "3600"}, body="{}")
    async with FakeOpenAi(lambda one, n: stays if n == 3 else solve(one, n)) as server:
        cell, folder = await run(tmp_path, plan(server.address, Api.CHAT))
    assert (cell.metrics.n, cell.metrics.errored) == (NUM_SAMPLES - 1, 1)
    assert lines(folder / "errors.jsonl")[0]["code"] == "HTTP_500"


@BOTH
async def test_whatever_bytes_come_each_sample_is_scored_or_errored(
    tmp_path: Path, api: Api
) -> None:
    generator = random.Random(8)

    def script(request: dict[str, Any], number: int) -> Reply:
        good = solve(request, number)
        if number == 1:
            return good
        stream = b"".join(encode(events_of(good, is_chat=api.is_chat)))
        return replace(good, stream=pieces(mutated(stream, generator), generator))

    async with FakeOpenAi(script) as server:
        asked = plan(server.address, api, Prompting.SEARCH, samples=250)
        cell, folder = await run(tmp_path, replace(asked, concurrency=16))
    assert cell.metrics.n + cell.metrics.errored == 250
    assert cell.metrics.correct > 20
    assert len(lines(folder / "samples.jsonl")) == cell.metrics.n
    assert "secret" not in (folder / "errors.jsonl").read_text()


ODD_VALUES = (
    *("null", "[]", "{}", "[null]", "-1", "7.5", "1e400", "9" * 30, "true", '""', '"x"', "NaN"),
    *('"\\ud83d"', '"\\u0000"', "[[1]]", '{"type": "text"}', '"length"', '"error"', "[" * 3000),
)
ODD_BYTES = (
    *(b"\n", b"\r", b"\r\n", b"\x00", b"\xff", b"\xe2\x80\xa8", b"\xed\xa0\xbd", b"data:", b"{"),
    *(b"event: error\n", b"data: [DONE]\n\n", b"\x1b[2J", b'"error": "x",', b"</search>"),
)


def mutated(stream: bytes, generator: random.Random) -> bytes:
    for _ in range(generator.choice((0, 1, 1, 2, 4))):
        at, to = sorted(generator.randrange(len(stream) + 1) for _ in range(2))
        near = min(to, at + 8)
        kind = generator.randrange(6)
        if kind == 0:
            stream = stream[:at] + generator.choice(ODD_BYTES) + stream[at:]
        elif kind == 1:
            stream = stream[:at] + generator.choice(ODD_BYTES) + stream[near:]
        elif kind == 2:
            stream = stream[:at] + stream[near:]
        elif kind == 3:
            stream = stream[:to] + stream[at:]
        elif kind == 4:
            stream = with_odd_value(stream, generator)
        elif generator.random() < 0.2:
            stream = stream[:at]
    return stream


def with_odd_value(stream: bytes, generator: random.Random) -> bytes:
    """Another value of some key."""
    keys = ("choices", "delta", "content", "text", "finish_reason", "usage", "completion_tokens")
    key = f'"{generator.choice(keys)}": '.encode()
    begin = stream.find(key, generator.randrange(len(stream) + 1))
    if begin < 0:
        return stream
    begin += len(key)
    ends = [end for end in (stream.find(c, begin) for c in (b",", b"}", b"]")) if end >= 0]
    return stream[:begin] + generator.choice(ODD_VALUES).encode() + stream[min(ends) :]


def pieces(stream: bytes, generator: random.Random) -> list[bytes]:
    cuts = sorted({0, len(stream), *(generator.randrange(len(stream) + 1) for _ in range(5))})
    return [stream[a:b] for a, b in pairwise(cuts)]
