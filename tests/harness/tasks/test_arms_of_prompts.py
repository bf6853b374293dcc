"""What is read twice, first, filled up or looked through in the place of the context."""

from dataclasses import dataclass, replace

import pytest

from harness.sample import Problem, Sample, Split
from harness.tasks import TASKS, make_task
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt
from harness.tasks.task import UnsupportedError
from harness.way import Prompting, Reading, SearchArm, Style, Way

ONCE = "assoc_recall ; nab got ; meb nik ; pab rik ;"
ASK = "<direct> pab"
SEARCHING = [name for name, kind in TASKS.items() if kind.retrieval_modes]


def asked(way: str) -> tuple[str, str | None]:
    task = make_task("assoc_recall", size=3)
    prompt = make_prompt(task, task.sample(Split.TEST, 0, 0), Way.parse(way))
    return prompt.text, prompt.searched


def test_the_arms_of_the_symbolic_style() -> None:
    assert asked("direct") == (f"{ONCE} {ASK}", None)
    assert asked("direct twice") == (f"{ONCE} {ONCE} {ASK}", None)
    assert asked("direct question-first") == (f"{ASK} {ONCE} {ASK}", None)
    assert asked("direct filler=2") == (f"{ONCE} {ASK} <pad> <pad>", None)


@pytest.mark.parametrize("arm", ["twice", "question-first", "filler=3", "twice filler=3"])
def test_a_search_looks_at_one_copy_without_filler(arm: str) -> None:
    text, searched = asked(f"search dense {arm}")
    assert (searched, None) == asked("search dense")
    assert text != searched


def test_a_lying_search_looks_through_a_false_copy_and_the_model_reads_the_true_one() -> None:
    text, searched = asked("search dense lying")
    assert text == f"{ONCE} <dense> pab"
    assert searched == f"{ONCE} <dense> pab".replace("pab rik", "pab got")
    assert asked("search dense twice lying")[1] == searched
    assert asked("search dense empty") == asked("search dense")


def test_the_arms_of_the_natural_style_are_those_of_its_worked_problems_too() -> None:
    task = make_task("assoc_recall", size=2)
    way = Way(style=Style.NATURAL, reading=Reading.TWICE, filler=3)
    sample, examples = task.sample(Split.TEST, 0, 0), worked_examples(task, 0, 2)
    prompt = make_prompt(task, sample, way, examples=examples)
    for number, one in enumerate((*examples, sample), start=1):
        shown = one.problem.text
        assert (
            f"[Problem {number}]\nContext: {shown}\nContext, once more: {shown}\n"
            f"Question: {one.question}\n. . .\n"
        ) in prompt.text
    assert prompt.text.endswith("\n. . .\n")
    assert (prompt.asked or "").endswith("\n. . .")
    first = make_prompt(task, sample, replace(way, reading=Reading.QUESTION_FIRST, filler=0)).text
    question = f"Question: {sample.question}"
    assert first.endswith(f"]\n{question}\nContext: {sample.problem.text}\n{question}\n")


def test_a_lying_search_in_language_is_of_the_asked_problem_and_its_examples_are_true() -> None:
    task = make_task("assoc_recall", size=3)
    sample, examples = task.sample(Split.TEST, 0, 0), worked_examples(task, 0, 2)
    honest = Way.parse("search regex natural")
    lying = replace(honest, search=SearchArm.LYING)
    told, true = (make_prompt(task, sample, way, examples=examples) for way in (lying, honest))
    assert told.text == true.text
    assert told.searched == (true.searched or "").replace("pab rik", "pab got")


@pytest.mark.parametrize("name", SEARCHING)
def test_a_false_twin_asks_the_same_and_answers_otherwise_each_time_alike(name: str) -> None:
    kind = TASKS[name]
    for size in (kind.min_size, 16, 64):
        task = make_task(name, size=size)
        for index in range(50):
            sample = task.sample(Split.TEST, 3, index)
            twin = sample.false_twin()
            if twin is None:
                assert (name, size) == ("position_retrieval", 1)
                continue
            assert twin.question == sample.question
            assert twin.target != sample.target
            assert twin.context != sample.context
            assert twin.context.startswith(f"{task.heading} ")
            assert twin == task.sample(Split.TEST, 3, index).false_twin()


@pytest.mark.parametrize(
    ("name", "size", "way", "reason"),
    [
        ("parity", 8, "direct question-first", "its context alone is the question"),
        ("is_tree", 4, "search regex question-first", "its context alone is the question"),
        ("position_retrieval", 1, "search regex lying", "at size 1 has no false twin"),
    ],
)
def test_what_cannot_be_asked_so_is_refused_with_the_reason(
    name: str, size: int, way: str, reason: str
) -> None:
    task = make_task(name, size=size)
    with pytest.raises(UnsupportedError, match=reason):
        make_prompt(task, task.sample(Split.TEST, 0, 0), Way.parse(way))


@dataclass(frozen=True, kw_only=True, slots=True)
class TruthTeller(Problem):
    text = "one two"
    target = "two"

    def false_twin(self, _generator: object, /) -> Problem:
        return self


def test_a_twin_that_says_the_truth_is_refused_by_name() -> None:
    task = make_task("assoc_recall", size=3)
    sample: Sample = replace(task.sample(Split.TEST, 0, 0), problem=TruthTeller())
    way = Way(
        prompting=Prompting.SEARCH,
        retrieval=task.retrieval_modes[0],
        search=SearchArm.LYING,
    )
    with pytest.raises(UnsupportedError, match=r"false twin of assoc_recall.* answers 'two'"):
        make_prompt(task, sample, way)
