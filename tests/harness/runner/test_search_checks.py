import asyncio
import json
from typing import Any

import pytest
from harnessapi import programs
from harnessapi.values import Markers, Mode

from harness.clients.completion import (
    Completion,
    CompletionRequest,
    CompletionTimes,
    SearchCheck,
    SearchStep,
    TextPiece,
)
from harness.runner.search_checks import SearchChecks
from harness.sample import Prompt

COMMAND = ("eval", "--endpoint", "rnn-rag", "--task", "assoc_recall", "--samples", "5", "--json")


def rows(result: Any) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_a_server_inserts_is_checked_and_stored(workplace: Any) -> None:
    [row] = rows(workplace.run(*COMMAND, "--retrieval", "dense"))
    assert (row["search_disagreements"], row["searches_unchecked"]) == (0, 0)
    check = {"num_checked": 1, "num_disagreements": 0, "num_unchecked": 0}
    assert [sample["search_check"] for sample in workplace.samples()] == [check] * 5


def test_a_server_that_lies_is_counted_and_named(workplace: Any) -> None:
    workplace.script(lie="fem bab")
    [row] = rows(workplace.run(*COMMAND, "--retrieval", "dense"))
    assert (row["search_disagreements"], row["searches_unchecked"]) == (5, 0)
    [reported] = rows(workplace.run("report", row["run"], "--json"))
    assert reported["search_disagreements"] == 5
    told = " ".join(workplace.run("report", row["run"]).stdout.split())
    assert "5 searches inserted something else than ours find" in told
    workplace.run("report", row["run"], "--html", "a.html")
    assert "5 searches inserted" in (workplace.folder / "a.html").read_text()


def test_the_searches_of_every_arm_are_checked_as_they_were_asked_for(workplace: Any) -> None:
    arms = "honest,empty,lying"
    found = rows(workplace.run(*COMMAND, "--retrieval", "dense", "--search", arms))
    told = [
        (row["search"], row["search_disagreements"], row["searches_unchecked"]) for row in found
    ]
    assert told == [(arm, 0, 0) for arm in arms.split(",")]


def test_nothing_is_claimed_where_nothing_was_searched(workplace: Any) -> None:
    [row] = rows(workplace.run(*COMMAND[:2], "rnn", *COMMAND[3:]))
    assert row["search_disagreements"] is None
    assert workplace.samples()[0]["search_check"] is None


def completion(*queries: str) -> Completion:
    """Each found nothing, the server says."""
    pieces, steps, place = [], [], 0
    for query in queries:
        asked = f" <search> {query} </search>"
        place += len(asked)
        steps.append(
            SearchStep(query=query, outcome="not_found", inserted_text="FAILED", place=place)
        )
        pieces += [TextPiece(part="query", text=asked), TextPiece(part="inserted", text=" FAILED")]
        place += len(" FAILED")
    return Completion(
        transcript=tuple(pieces),
        searches=tuple(steps),
        finish_reason="eos",
        num_prompt_tokens=1,
        num_generated_tokens=1,
        num_inserted_tokens=1,
        num_searches=len(steps),
        times=CompletionTimes(),
    )


def checked(
    text: str, asked: Completion, mode: Mode, **options: Any
) -> tuple[SearchCheck, list[str]]:
    """The check, and what was said of it."""
    said: list[str] = []
    request = CompletionRequest(prompt=Prompt(text=text), mode=mode, max_new_tokens=10_000)

    async def check() -> Completion:
        with SearchChecks(said.append, **options) as checks:
            each = (checks.checked(asked, request, Markers()) for _ in range(2))
            one, other = await asyncio.gather(*each)
            assert one == other
            return one

    found = asyncio.run(check()).search_check
    assert found is not None
    return found, said


SLOW = "a.{0,900}b.{0,900}Q"


def test_a_patterns_cost_is_bounded_and_what_is_left_is_counted() -> None:
    text = "ab " * 3_000
    check, _ = checked(text, completion(*[SLOW] * 2_000), Mode.REGEX, max_work_ns=2_000_000_000)
    assert 0 < check.num_checked < 20
    assert check.num_checked + check.num_unchecked == 2_000
    assert check.num_disagreements == 0


def test_what_models_write_is_all_checked_however_long() -> None:
    text = "pairs ; " + "fem bab ; " * 1_000
    check, _ = checked(text, completion(*[r"\bdok (\S+)"] * 1_000), Mode.REGEX)
    assert (check.num_checked, check.num_disagreements, check.num_unchecked) == (1_000, 0, 0)


def test_similarity_over_a_long_text_is_bounded_too() -> None:
    text = "nothing ; " * 1_000
    check, _ = checked(
        text, completion(*(f"w{n}" for n in range(500))), Mode.DENSE, max_work_ns=100_000_000
    )
    assert 0 < check.num_checked < 20
    assert check.num_disagreements == 0


@pytest.mark.parametrize("query", ["(" * 500, r"((\pL{30}){30})", "x{1000}{1000}"])
def test_patterns_that_are_given_up_are_not_tried_for_ever(query: str) -> None:
    invalid = completion(*[query] * 1_000)
    check, _ = checked("text", invalid, Mode.REGEX, max_work_ns=1_000_000_000)
    assert 0 < check.num_checked < 20
    assert check.num_disagreements == 0


def test_without_the_search_installed_nothing_is_checked_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(programs._NEEDS, "retrieval", ("no_such_module",))
    check, said = checked("text", completion("dok", "fem"), Mode.REGEX)
    assert (check.num_checked, check.num_unchecked) == (0, 2)
    assert len(said) == 1
    assert "no_such_module" in said[0]


def test_nothing_is_searched_once_the_session_is_over() -> None:
    request = CompletionRequest(prompt=Prompt(text="text"), mode=Mode.REGEX, max_new_tokens=9)

    async def check() -> Completion:
        checks = SearchChecks(print)
        checks._is_closed.set()
        return await checks.checked(completion("dok"), request, Markers())

    found = asyncio.run(check()).search_check
    assert found == SearchCheck(num_checked=0, num_disagreements=0, num_unchecked=1)
