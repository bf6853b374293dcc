from collections.abc import Iterable

import pytest
from harnessapi.values import Mode

from harness.clients.openai.dialogue import MARKERS
from harness.sample import Prompt, Split
from harness.scoring.exact import Verdict
from harness.scoring.marked import score_marked
from harness.steps import Found, Step
from harness.tasks import TASKS, make_task
from harness.tasks.natural import found_text, step_text, worked_examples
from harness.tasks.prompts import make_prompt
from harness.tasks.symbolic import ask
from harness.tasks.task import Task
from harness.way import Style, Way
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchRequest, SearchResult

SMALL = 4


def small(name: str) -> Task:
    # There are only 16 rows of 4 bits.
    return make_task(name, size=8 if name == "parity" else SMALL)


def prompt_of(task: Task, way: Way, num_examples: int = 3) -> Prompt:
    examples = worked_examples(task, 0, num_examples)
    sample = task.sample(Split.TEST, 0, 0)
    return make_prompt(task, sample, way, examples=examples)


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_is_instruction_worked_problems_and_the_asked_one(name: str) -> None:
    task = small(name)
    sample = task.sample(Split.TEST, 0, 0)
    for way in task.ways(Style.NATURAL):
        text = prompt_of(task, way).text
        assert text.startswith(task.instruction)
        *worked, asked = text.split("\n[Problem ")[1:]
        assert len(worked) == 3
        assert sample.context.removeprefix(task.heading).strip() in asked
        assert sample.question in asked
        assert text.endswith("\n")
        assert sample.context not in "".join(worked)


@pytest.mark.parametrize("name", TASKS)
def test_every_worked_problem_is_scored_as_right(name: str) -> None:
    task = small(name)
    for way in task.ways(Style.NATURAL):
        for example in worked_examples(task, 0, 3):
            asked = make_prompt(task, example, way, examples=[example])
            worked = asked.text.split("\n[Problem ")[1]
            assert score_marked(worked, example.target, truncated=False) is Verdict.CORRECT


@pytest.mark.parametrize("name", TASKS)
def test_nothing_of_the_symbolic_marks_is_left_but_those_of_the_channel(name: str) -> None:
    task = small(name)
    for way in task.ways(Style.NATURAL):
        text = prompt_of(task, way).text
        for mark in ("<answer>", "<eos>", "<direct>", "<cot>", "<regex>", "<dense>"):
            assert mark not in text
        assert ("<search>" in text) == (way.retrieval is not None)


def test_a_worked_search_shows_its_result_as_it_will_come() -> None:
    task = make_task("assoc_recall", size=SMALL)
    [example] = worked_examples(task, 0, 1)
    prompt = prompt_of(task, Way.parse("search regex natural"), 1)
    worked = rf"<search> {example.question} (\S+) </search> <result> {example.target} </result>"
    assert worked in prompt.text
    assert prompt.word_result(example.target) == f" <result> {example.target} </result> "


def test_searches_look_at_the_asked_context_as_it_is_shown() -> None:
    way = Way.parse("search regex natural")
    prompt = prompt_of(make_task("assoc_recall", size=SMALL), way)
    assert prompt.searched is not None
    shown = prompt.text.rpartition("Context: ")[2].partition("\n")[0]
    question = prompt.text.rpartition("\nQuestion: ")[2].strip()
    assert prompt.searched == f"{shown} Question: {question} "


@pytest.mark.parametrize("name", TASKS)
def test_a_worked_search_inserts_what_a_real_one_finds(name: str) -> None:
    task = small(name)
    for way in task.ways(Style.NATURAL):
        if way.retrieval is None:
            continue
        for sample in worked_examples(task, 0, 20):
            prompt = make_prompt(task, sample, way)
            assert replay(task, sample.steps(way), prompt, way.retrieval)


def replay(task: Task, steps: Iterable[Step], prompt: Prompt, mode: Mode) -> bool:
    """Whether the search channel inserts all that the steps say is found."""
    channel = SearchChannel(
        context_id="c",
        prompt_text=prompt.searched or "",
        markers=MARKERS,
        mode=mode,
        limits=SearchLimits(),
        abbreviations=task.abbreviations,
    )
    search: SearchRequest | SearchResult | None = None
    for step in steps:
        if not isinstance(step, Found):
            search = channel.feed(f"{step_text(step)} ")
            continue
        assert isinstance(search, SearchRequest)
        found = channel.resolve(LocalRetriever().search([search])[0])
        if found != found_text(step):
            return False
        channel.inserted(prompt.word_result(found))
    return True


@pytest.mark.parametrize("name", TASKS)
def test_worked_examples_are_seeded_distinct_and_of_the_train_split(name: str) -> None:
    task = small(name)
    examples = worked_examples(task, 5, 8)
    assert examples == worked_examples(task, 5, 8)
    assert len({example.context for example in examples}) == 8
    assert {example.address.split for example in examples} == {Split.TRAIN}
    assert examples != worked_examples(task, 6, 8)


def test_without_examples_the_problem_stands_alone() -> None:
    text = prompt_of(make_task("copy", size=SMALL), Way(style=Style.NATURAL), 0).text
    assert text.count("[Problem") == 1
    assert "solved" not in text


def test_the_symbolic_prompt_is_what_it_was() -> None:
    task = make_task("assoc_recall", size=SMALL)
    sample = task.sample(Split.TEST, 0, 0)
    assert make_prompt(task, sample, Way()) == Prompt(text=f"{sample.context} {ask(sample, Way())}")
