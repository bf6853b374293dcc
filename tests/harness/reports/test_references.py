"""The bound of a state, where a task's values are drawn evenly from known words."""

from dataclasses import replace
from typing import Any

import pytest
from harnessapi.values import Mode, ModelDescription

from harness.reports.references import bound_curves, state_bound
from harness.runs.metrics import Accumulator
from harness.runs.results import CellResult
from harness.scoring.bound import recall_bound
from harness.tasks.vocabulary import WORDS
from harness.way import Prompting


@pytest.fixture
def cell(stored: Any) -> Any:
    """A cell of a model that has 64 bits of its context when the question comes."""

    def make(task: str, size: int, **asked: Any) -> CellResult:
        return CellResult(
            run="r",
            asked=stored.cell("rnn-64", task=task, size=size, **asked),
            model=ModelDescription(name="rnn", family="RNN", state_bytes=8, state_bits=64),
            metrics=Accumulator().metrics(errored=0),
            label="rnn-64",
            parameters={"alphabet": 32} if task == "assoc_recall" else {},
        )

    return make


def test_the_bound_is_that_of_the_bits_that_are_served(cell: Any) -> None:
    assert cell("assoc_recall", 8).bound == 1.0
    assert cell("assoc_recall", 16).bound == recall_bound(64, 16, 32) < 1


def test_words_of_index_are_drawn_from_the_whole_vocabulary(cell: Any) -> None:
    assert cell("index", 16).bound == recall_bound(64, 16, len(WORDS)) < 1
    cells = [cell("index", 16), cell("index", 16)]
    [curve] = bound_curves(cells)
    assert curve.points == ((16.0, cells[0].bound),)
    [against_bits] = state_bound(cells, 3, 6)
    assert against_bits.points[0][1] < against_bits.points[-1][1] == 1.0


@pytest.mark.parametrize("task", ["counting", "is_tree"])
def test_other_tasks_have_no_bound(cell: Any, task: str) -> None:
    assert cell(task, 16).bound is None
    assert not state_bound([cell(task, 16)], 3, 6)


def test_a_search_has_no_bound(cell: Any) -> None:
    searched = cell("index", 16, prompting=Prompting.SEARCH, retrieval=Mode.REGEX)
    assert searched.bound is None
    assert searched.bits_shown is None
    # Beside one that has.
    mixed = [searched, replace(cell("index", 16), label="rnn")]
    assert state_bound(mixed, 3, 6)
