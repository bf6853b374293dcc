"""The kit names the one promise that a server breaks, and finds no fault in a whole one."""

import asyncio
from pathlib import Path

import pytest
from harnessapi.rpc.targets import parse_target

from harness.conformance.all_promises import PROMISES
from harness.conformance.kit import hold
from harness.conformance.promise import Finding, Judgement, shown
from harness.errors import UnreachableError
from harness.fakes.broken_servers import toy_server
from harness.fakes.defects import DEFECTS
from harness.fakes.quirk import Quirk

# These keep the kit waiting: they are asked side by side.
HANGING = ("leaks-late", "leaks-slots", "too-many-slots", "unhealthy")
# The one that takes the longest to try, and has nothing to do with the others.
LONGEST = "refuses-large-message"
# Longer than any answer of the toy takes.
WAIT_S = 600.0
# What a server that hangs is given: as long as the others need at the very most.
SHORT_WAIT_S = 30.0


async def findings(
    folder: Path, quirk: Quirk, *, but: str = "", wait_s: float = WAIT_S
) -> dict[str, Finding]:
    folder.mkdir(exist_ok=True)
    promises = [promise for promise in PROMISES if promise.name != but]
    async with toy_server(quirk, parse_target(f"unix:{folder}/s")) as bound:
        found = hold(bound, wait_s=wait_s, connect_timeout_s=WAIT_S, promises=promises)
        return {one.name: one async for one in found}


def failed(found: dict[str, Finding]) -> list[str]:
    return [one.name for one in found.values() if one.verdict is Judgement.FAILED]


async def test_a_whole_server_keeps_every_promise(tmp_path: Path) -> None:
    found = await findings(tmp_path, Quirk())
    assert {one.name: one.seen for one in found.values() if one.verdict is not Judgement.OK} == {
        "refuses-search": "the model has a search channel"
    }
    assert [*found] == [promise.name for promise in PROMISES]


def test_every_promise_is_broken_by_a_server() -> None:
    assert {defect.promise for defect in DEFECTS.values()} == {one.name for one in PROMISES}


@pytest.mark.parametrize("name", [name for name in DEFECTS if name not in HANGING])
async def test_the_promise_that_a_server_breaks_is_named_and_no_other(
    tmp_path: Path, name: str
) -> None:
    defect = DEFECTS[name]
    but = LONGEST if defect.promise != LONGEST else ""
    found = await findings(tmp_path, defect.quirk, but=but)
    assert failed(found) == [defect.promise], found


async def test_a_server_that_keeps_the_kit_waiting_is_left_after_a_bounded_wait(
    tmp_path: Path,
) -> None:
    asked = [
        findings(tmp_path / name, DEFECTS[name].quirk, but=LONGEST, wait_s=SHORT_WAIT_S)
        for name in HANGING
    ]
    for name, found in zip(HANGING, await asyncio.gather(*asked), strict=True):
        assert failed(found) == [DEFECTS[name].promise], found
        assert "waited 30 s for" in found[DEFECTS[name].promise].seen


async def test_what_depends_on_a_broken_promise_is_not_tried_and_says_so(tmp_path: Path) -> None:
    found = await findings(tmp_path, DEFECTS["no-get-model"].quirk)
    assert found["Generate"].verdict is Judgement.NOT_TRIED
    assert found["Generate"].seen == "GetModel: failed"
    assert "GetModel is missing: UNIMPLEMENTED" in found["GetModel"].seen
    assert found["counts"].seen == "event-order: not tried"


def test_what_a_server_says_is_shown_on_one_printable_line_of_bounded_length() -> None:
    assert shown("a\n\x1b[31mb") == "a \\x1b[31mb"
    assert len(shown("word " * 10_000)) < 400
    assert len(shown("\x1b" * 10_000)) < 400


async def test_where_nobody_listens_there_is_nothing_to_hold(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="no such socket"):
        async for _ in hold(parse_target(f"unix:{tmp_path}/s"), connect_timeout_s=0.1):
            pass
