from collections.abc import Sequence

import pytest

from harness.clients.openai.dialogue import MARKERS
from harness.sample import Prompt, Prompting, Segment, Split, Style
from harness.scoring.exact import Verdict
from harness.scoring.natural import score_marked
from harness.tasks import TASKS, make_task
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt, render
from harness.tasks.task import Task
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import Mode, SearchRequest, SearchResult

SMALL = 4


def small(name: str) -> Task:
    # There are only 16 rows of 4 bits.
    return make_task(name, size=8 if name == "parity" else SMALL)


def ways(task: Task) -> list[tuple[Prompting, Mode | None]]:
    searches = [(Prompting.SEARCH, mode) for mode in task.retrieval_modes]
    plain = [(p, None) for p in task.promptings if p is not Prompting.SEARCH]
    return [*plain, *searches]


def prompt_of(task: Task, prompting: Prompting, mode: Mode | None, num_examples: int = 3) -> Prompt:
    examples = worked_examples(task, 0, num_examples)
    sample = task.sample(Split.TEST, 0, 0)
    return make_prompt(task, sample, prompting, Style.NATURAL, mode, examples=examples)


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_is_instruction_worked_problems_and_the_asked_one(name: str) -> None:
    task = small(name)
    sample = task.sample(Split.TEST, 0, 0)
    for prompting, mode in ways(task):
        text = prompt_of(task, prompting, mode).text
        assert text.startswith(task.instruction)
        *worked, asked = text.split("\n[Problem ")[1:]
        assert len(worked) == 3
        assert sample.context.removeprefix(f"{name} ").removeprefix("; ") in asked
        assert sample.question in asked
        assert text.endswith("\n")
        assert sample.context not in "".join(worked)


@pytest.mark.parametrize("name", TASKS)
def test_every_worked_problem_is_scored_as_right(name: str) -> None:
    task = small(name)
    for prompting, mode in ways(task):
        for example in worked_examples(task, 0, 3):
            asked = make_prompt(task, example, prompting, Style.NATURAL, mode, examples=[example])
            worked = asked.text.split("\n[Problem ")[1]
            assert score_marked(worked, example.target, truncated=False) is Verdict.CORRECT


@pytest.mark.parametrize("name", TASKS)
def test_nothing_of_the_symbolic_marks_is_left_but_those_of_the_channel(name: str) -> None:
    task = small(name)
    for prompting, mode in ways(task):
        text = prompt_of(task, prompting, mode).text
        for mark in ("<answer>", "<eos>", "<direct>", "<cot>", "<regex>", "<dense>"):
            assert mark not in text
        assert ("<search>" in text) == (mode is not None)


def test_a_worked_search_shows_its_result_as_it_will_come() -> None:
    task = make_task("assoc_recall", size=SMALL)
    [example] = worked_examples(task, 0, 1)
    prompt = prompt_of(task, Prompting.SEARCH, Mode.REGEX, 1)
    worked = rf"<search> {example.question} (\S+) </search> <result> {example.target} </result>"
    assert worked in prompt.text
    assert prompt.word_result(example.target) == f" <result> {example.target} </result> "


def test_searches_look_at_the_asked_context_as_it_is_shown() -> None:
    prompt = prompt_of(make_task("assoc_recall", size=SMALL), Prompting.SEARCH, Mode.REGEX)
    assert prompt.searched is not None
    shown = prompt.text.rpartition("Context: ")[2].partition("\n")[0]
    question = prompt.text.rpartition("\nQuestion: ")[2].strip()
    assert prompt.searched == f"{shown} Question: {question} "


@pytest.mark.parametrize("name", TASKS)
def test_a_worked_search_inserts_what_a_real_one_finds(name: str) -> None:
    task = small(name)
    for prompting, mode in ways(task):
        if mode is None:
            continue
        for sample in worked_examples(task, 0, 20):
            prompt = make_prompt(task, sample, prompting, Style.NATURAL, mode)
            assert replay(task, task.demonstration(sample, prompting, mode), prompt, mode)


def replay(task: Task, segments: Sequence[Segment], prompt: Prompt, mode: Mode) -> bool:
    """Whether the search channel inserts all that the segments say is inserted."""
    channel = SearchChannel(
        context_id="c",
        prompt_text=prompt.searched or "",
        markers=MARKERS,
        mode=mode,
        limits=SearchLimits(),
        abbreviations=task.abbreviations,
    )
    search: SearchRequest | SearchResult | None = None
    for segment in segments:
        if not segment.inserted:
            search = channel.feed(f"{segment.text} ")
            continue
        assert isinstance(search, SearchRequest)
        found = channel.resolve(LocalRetriever().search([search])[0])
        if found != segment.text.replace("<dense>", "Question:"):
            return False
        channel.inserted(prompt.word_result(segment.text))
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
    text = prompt_of(make_task("copy", size=SMALL), Prompting.DIRECT, None, 0).text
    assert text.count("[Problem") == 1
    assert "solved" not in text


def test_the_symbolic_prompt_is_what_it_was() -> None:
    task = make_task("assoc_recall", size=SMALL)
    sample = task.sample(Split.TEST, 0, 0)
    prompt = make_prompt(task, sample, Prompting.DIRECT, Style.SYMBOLIC, None)
    assert prompt == Prompt(text=render(task, sample, Prompting.DIRECT, Style.SYMBOLIC, None))
