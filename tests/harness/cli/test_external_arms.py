"""Arms at other people's endpoints, in plain language: this program makes the searches there."""

from pathlib import Path
from typing import Any

import pytest

from harness.cli.progress import PlainProgress
from harness.endpoints.external import Api, External
from harness.fakes.fake_openai import FakeOpenAi, solve
from harness.runner.session import run_session
from harness.runs.results import CellResult
from harness.runs.store import create_run
from harness.runs.summary import summarize
from harness.way import Prompting, Reading, SearchArm

from ..session_plans import session_plan


async def run(folder: Path, address: str, api: Api, **options: Any) -> list[CellResult]:
    store = create_run(folder)
    plan = session_plan(
        samples=4,
        concurrency=4,
        options=options,
        address=address,
        external=External(model="m", api=api),
        retrieval=True,
    )
    try:
        await run_session(plan, store, PlainProgress())
    finally:
        store.close()
    return list(summarize(store.folder).cells)


@pytest.mark.parametrize("api", Api)
async def test_a_language_model_that_goes_by_what_it_finds_tells_the_lie(
    tmp_path: Path, api: Api
) -> None:
    arms = {"reading": (Reading.TWICE,), "filler": (2,), "search": tuple(SearchArm)}
    async with FakeOpenAi(solve) as server:
        cells = await run(tmp_path, server.address, api, prompting=(Prompting.SEARCH,), **arms)
    names = [cell.way for cell in cells]
    assert names == [
        "search dense natural twice filler=2",
        "search dense natural twice filler=2 empty",
        "search dense natural twice filler=2 lying",
    ]
    assert [cell.metrics.accuracy for cell in cells] == [1, 0, 0]
    assert [cell.metrics.lie_rate for cell in cells] == [None, None, 1]


async def test_it_reads_twice_or_the_question_first_where_it_makes_no_search(
    tmp_path: Path,
) -> None:
    async with FakeOpenAi(solve) as server:
        cells = await run(
            *(tmp_path, server.address, Api.TURNS),
            prompting=(Prompting.DIRECT,),
            reading=tuple(Reading),
            filler=(0, 3),
        )
    assert [cell.metrics.accuracy for cell in cells] == [1] * 6
