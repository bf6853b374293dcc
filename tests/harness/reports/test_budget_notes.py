"""What a report says of how much an arm was trained to answer so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harnessapi.rpc.description import description_from_wire, description_to_wire
from harnessapi.values import ModelDescription, TrainedBy, TrainedOn

from harness.reports.notes import budget_notes
from harness.reports.rows import trained_on
from harness.runs.metrics import Accumulator
from harness.runs.results import CellResult
from harness.way import Prompting, Reading, Style

COT = Prompting.COT


@pytest.fixture
def arm(stored: Any) -> Any:
    """A cell of a model that was trained on so many contexts of is_tree by chain of thought."""

    def make(
        name: str, contexts: int | None, accuracy: float, size: int = 16, way: Prompting = COT
    ) -> CellResult:
        told = (
            () if contexts is None else (TrainedOn(task="is_tree", way="cot", contexts=contexts),)
        )
        model = ModelDescription(
            name=name, family="RNN", trained_tasks=("is_tree",), trained_on=told
        )
        metrics = replace(
            Accumulator().metrics(errored=0),
            n=100,
            correct=round(100 * accuracy),
            accuracy=accuracy,
        )
        asked = stored.cell(name, task="is_tree", size=size, prompting=way)
        return CellResult(run="r", asked=asked, model=model, metrics=metrics, label=name)

    return make


def test_an_arm_with_under_a_tenth_of_the_budget_of_a_better_one_is_named(arm: Any) -> None:
    cells = [arm("rnn", 2206, 0.4), arm("transformer", 1_134_094, 0.9), arm("hybrid", 11_000, 0.9)]
    cells += [arm("rnn", 2206, 0.3, 32), arm("transformer", 1_134_094, 0.8, 32)]
    assert budget_notes(cells) == [
        "contexts of is_tree in training: rnn by cot about 2,206, and transformer by cot about "
        "1,134,094: what sets these apart may be training alone, and says little of the "
        "architecture or of the way"
    ]


def test_a_way_that_was_hardly_trained_is_compared_with_those_that_were(arm: Any) -> None:
    cells = [arm("rnn", 2206, 0.6), arm("rnn", 2206, 0.4, way=Prompting.DIRECT)]
    assert "rnn by direct about 0, and rnn by cot about 2,206" in budget_notes(cells)[0]


def test_nothing_is_said_where_budgets_explain_nothing(arm: Any) -> None:
    much = arm("transformer", 10_000, 0.5)
    assert not budget_notes([arm("rnn", 1000, 0.4), much])
    assert not budget_notes([arm("rnn", 10, 0.9), much])
    assert not budget_notes([arm("rnn", None, 0.4), much])
    # Of other sizes.
    assert not budget_notes([arm("rnn", 10, 0.1, size=32), much])
    # Of another experiment.
    less = arm("rnn", 10, 0.1)
    assert not budget_notes([replace(less, asked=replace(less.asked, filler=8)), much])


def test_a_cell_knows_what_its_model_was_trained_on(arm: Any, stored: Any) -> None:
    known = arm("rnn", 2206, 0.5)
    assert (known.trained_on, trained_on(known)) == (2206, "2.2k")
    assert known.as_json()["trained_on"] == 2206
    assert (arm("rnn", None, 0.5).trained_on, trained_on(arm("rnn", None, 0.5))) == (None, "-")
    twice = replace(known, asked=replace(known.asked, reading=Reading.TWICE))
    assert twice.trained_on == 2206
    natural = stored.cell("rnn", task="is_tree", prompting=COT, style=Style.NATURAL)
    assert natural.trained_contexts(known.model) is None


def test_budgets_travel_with_the_description(arm: Any) -> None:
    model = arm("rnn", 2206, 0.5).model
    assert description_from_wire(description_to_wire(model)) == model


def test_what_training_made_a_model_travels_with_its_description(workplace: Any) -> None:
    training = TrainedBy(recipe="frontier", model="gru", seed=0)
    model = ModelDescription(name="m", family="RNN", trained_by=training, config_json='{"a": 1}')
    assert description_from_wire(description_to_wire(model)) == model
    untold = ModelDescription(name="m", family="RNN")
    assert description_from_wire(description_to_wire(untold)) == untold
    assert "recipe" not in workplace.run("endpoints", "check", "rnn").stdout
    workplace.script(trained_by=["frontier", "gru", 2])
    assert "recipe      frontier gru, seed 2" in workplace.run("endpoints", "check", "rnn").stdout


def test_a_fleets_budgets_are_told_by_check_scoreboard_report_and_page(workplace: Any) -> None:
    told = [("assoc_recall", "direct", 90), ("assoc_recall", "search dense", 123_456)]
    workplace.script(trained_tasks=["assoc_recall"], trained_on=told, wrong_share=0.5)
    check = workplace.run("endpoints", "check", "rnn").stdout
    assert "contexts    assoc_recall: direct 90, search dense 123,456" in check
    ask = ("eval", "--endpoint", "rnn,rnn-rag", "--task", "assoc_recall", "--samples", "8")
    shown = workplace.run(*ask, "--prompting", "direct,search", "--retrieval", "dense")
    run = workplace.only_run().name
    assert "123.5k" in "".join(shown.stdout.split()) or "0.1M" in shown.stdout
    report = workplace.run("report", run, "--html", "r.html").stdout
    assert "trained on" in " ".join(report.split())
    assert '<th class="number">trained on</th>' in Path("r.html").read_text()
    rows = workplace.run("report", run, "--json").stdout.splitlines()
    assert {json.loads(row)["trained_on"] for row in rows} == {90, 123_456}
