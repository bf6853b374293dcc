"""One worked completion, worded in both styles; and parameters, as tasks declare them."""

import random

import pytest

from harness.errors import HarnessError
from harness.sample import Split
from harness.steps import Answer, Found, Query, Thought, lookup
from harness.tasks import TASKS, make_task, natural, symbolic
from harness.tasks.drawing import shuffle
from harness.tasks.parameters import parameters_of
from harness.tasks.symbolic import Piece

STEPS = (
    Thought(text="fem"),
    Thought(text="= 1"),
    *lookup(r"fem (\S+)", "gik"),
    Query(text="7"),
    Found(text="7", is_question=True),
    Answer(text="gik"),
)


def test_the_symbolic_style_joins_what_the_model_writes_in_one_go() -> None:
    assert symbolic.write(STEPS) == (
        Piece(text=r"fem = 1 <search> fem (\S+) </search>", inserted=False),
        Piece(text="gik", inserted=True),
        Piece(text="<search> 7 </search>", inserted=False),
        Piece(text="<dense> 7", inserted=True),
        Piece(text="<answer> gik <eos>", inserted=False),
    )


def test_for_people_what_is_inserted_stands_in_brackets() -> None:
    assert symbolic.show(STEPS[-3:]) == "<search> 7 </search> [<dense> 7] <answer> gik <eos>"


def test_the_natural_style_shows_results_and_has_the_answer_on_a_line_of_its_own() -> None:
    assert natural.write(STEPS) == (
        r"fem = 1 <search> fem (\S+) </search> <result> gik </result> "
        "<search> 7 </search> <result> Question: 7 </result>\nAnswer: gik"
    )
    assert natural.write(STEPS[-1:]) == "Answer: gik"


@pytest.mark.parametrize("name", TASKS)
def test_defaults_are_allowed_at_every_size_and_limits_are_the_first_and_last(name: str) -> None:
    kind = TASKS[name]
    for size in range(kind.min_size, kind.max_size + 1):
        make_task(name, size=size)
    for size in (kind.min_size, 16, kind.max_size):
        for parameter, known in parameters_of(kind).items():
            low, high = map(int, known.limits(size).split(" to "))
            for value in (low, high):
                make_task(name, size=size, **{parameter: value})
            for value in (low - 1, high + 1):
                if value != known.default:
                    with pytest.raises(HarnessError, match=f"{parameter} {value} is out of range"):
                        make_task(name, size=size, **{parameter: value})


@pytest.mark.parametrize("name", TASKS)
def test_a_parameter_is_part_of_the_address_and_says_what_it_means(name: str) -> None:
    address = make_task(name).sample(Split.TEST, 0, 0).address
    for parameter, known in parameters_of(TASKS[name]).items():
        assert ((parameter, known.default) in address.parameters) == (not known.is_late)
        assert known.about.endswith(".")


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 64, 255])
def test_shuffles_are_those_of_the_standard_library(length: int) -> None:
    for seed in range(20):
        ours, theirs = random.Random(seed), random.Random(seed)
        row, other = list(range(length)), list(range(length))
        shuffle(row, ours)
        theirs.shuffle(other)
        assert row == other
        assert ours.random() == theirs.random()
