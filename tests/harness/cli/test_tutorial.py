"""The task of docs/tutorial-add-a-task.md is taken from the page and held to what tasks promise."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from harnessapi.values import Markers, Mode

from harness.sample import Split
from harness.scoring.exact import Verdict, score_exact
from harness.tasks import vocabulary as words
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt, render
from harness.tasks.symbolic import write
from harness.tasks.task import Task
from harness.way import Way
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchRequest

Latest = Callable[..., Task]


@pytest.fixture
def latest(tmp_path: Path, tutorial_task: Callable[[str], str]) -> Latest:
    path = tmp_path / "latest.py"
    path.write_text(tutorial_task("latest"))
    spec = importlib.util.spec_from_file_location("latest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Latest


@pytest.mark.parametrize("size", [1, 4, 16, 128])
def test_the_answer_is_the_last_value_and_every_demonstration_says_so(
    latest: Latest, size: int
) -> None:
    task = latest(size=size)
    for index in range(50):
        sample = task.sample(Split.TEST, 0, index)
        assert sample == latest(size=size).sample(Split.TEST, 0, index)
        assert sample in sample.siblings()
        row = sample.context.split()
        last = len(row) - 1 - row[::-1].index(sample.question)
        assert row[last + 1] == sample.target
        for way in (Way.parse("direct"), Way.parse("cot")):
            [piece] = write(sample.steps(way))
            assert score_exact(piece.text, sample.target, truncated=False) is Verdict.CORRECT
            assert len(piece.text.split()) <= task.max_completion_tokens(way)


@pytest.mark.parametrize("size", [1, 4, 16, 128])
def test_its_prompts_are_as_long_as_stated_and_of_known_words(latest: Latest, size: int) -> None:
    task = latest(size=size)
    prompt = render(task, task.sample(Split.TEST, 0, 0), Way()).split()
    assert len(prompt) == 3 * size + 4
    assert {*prompt} <= {*words.vocabulary()}
    natural = make_prompt(
        task,
        task.sample(Split.TEST, 0, 0),
        Way.parse("cot natural"),
        examples=worked_examples(task, 0, 3),
    )
    assert "assoc_recall" not in natural.text


def test_its_splits_share_no_context(latest: Latest) -> None:
    task = latest(size=1)
    contexts = [{task.sample(split, 0, i).context for i in range(500)} for split in Split]
    assert not contexts[0] & contexts[1]


@pytest.mark.parametrize("size", [1, 4, 16, 128])
def test_a_real_search_inserts_what_it_says(latest: Latest, size: int) -> None:
    task = latest(size=size)
    for index in range(50):
        sample = task.sample(Split.TEST, 0, index)
        way = Way.parse("search regex")
        query, found, _ = write(sample.steps(way))
        channel = SearchChannel(
            context_id="c",
            prompt_text=render(task, sample, way),
            markers=Markers(start=words.SEARCH_START, end=words.SEARCH_END),
            mode=Mode.REGEX,
            limits=SearchLimits(),
            abbreviations=task.abbreviations,
        )
        request = channel.feed(f" {query.text}")
        assert isinstance(request, SearchRequest)
        assert channel.resolve(LocalRetriever().search([request])[0]) == found.text
