"""A model that says what it was trained on is not asked for anything else without a word."""

import json
from typing import Any

import pytest
from harnessapi.values import ModelDescription

from harness.way import Style

ASK = ("eval", "--endpoint", "rnn,rnn-rag", "--task", "assoc_recall,index,parity", "--size", "4")
TOLD = "asked what they were not trained on: rnn: index, parity; rnn-rag: index, parity\n"


def trained(result: Any) -> dict[str, bool | None]:
    return {row["task"]: row["trained"] for row in map(json.loads, result.stdout.splitlines())}


def test_what_a_model_was_not_trained_on_is_said_before_it_is_asked_and_in_every_row(
    workplace: Any,
) -> None:
    workplace.script(trained_tasks=["assoc_recall"])
    result = workplace.run(*ASK, "--samples", "2", "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(TOLD) == 1
    assert result.stderr.index(TOLD) < result.stderr.index("samples, 0 stored already")
    assert trained(result) == {"assoc_recall": True, "index": False, "parity": False}
    again = workplace.run("report", workplace.only_run().name, "--json")
    assert trained(again) == trained(result)


def test_nothing_is_said_of_a_model_that_does_not_say_what_it_was_trained_on(
    workplace: Any,
) -> None:
    result = workplace.run(*ASK, "--samples", "2", "--json")
    assert "not trained" not in result.stderr
    assert set(trained(result).values()) == {None}


@pytest.mark.parametrize(("style", "expected"), [(Style.SYMBOLIC, False), (Style.NATURAL, None)])
def test_plain_language_is_nothing_that_a_checkpoint_was_trained_on(
    stored: Any, style: Style, expected: bool | None
) -> None:
    model = ModelDescription(name="m", family="RNN", trained_tasks=("index",))
    assert stored.cell("rnn", style=style).is_trained(model) is expected


def test_a_check_lists_what_a_model_was_trained_on(workplace: Any) -> None:
    assert "trained on  not said" in workplace.run("endpoints", "check", "rnn").stdout
    workplace.script(trained_tasks=["assoc_recall", "index"])
    assert "trained on  assoc_recall, index" in workplace.run("endpoints", "check", "rnn").stdout
