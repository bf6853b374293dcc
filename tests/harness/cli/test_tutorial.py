"""The task of docs/tutorial-add-a-task.md is taken from the page and held to what tasks promise."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from harnessapi.values import Markers

from harness.sample import Prompting, Split, Style
from harness.scoring.exact import Verdict, score_exact
from harness.tasks import vocabulary as words
from harness.tasks.natural import worked_examples
from harness.tasks.prompts import make_prompt, render
from harness.tasks.task import Task
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import Mode, SearchRequest

PAGE = Path(__file__).parents[3] / "docs" / "tutorial-add-a-task.md"

Latest = Callable[..., Task]


@pytest.fixture
def latest(tmp_path: Path) -> Latest:
    text = PAGE.read_text()
    [code] = [part.partition("\n```")[0] for part in text.split("```python\n")[1:]]
    path = tmp_path / "latest.py"
    path.write_text(code + "\n")
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
        assert sample in task.siblings(sample)
        row = sample.context.split()
        last = len(row) - 1 - row[::-1].index(sample.question)
        assert row[last + 1] == sample.target
        for prompting, mode in ((Prompting.DIRECT, None), (Prompting.COT, None)):
            [segment] = task.demonstration(sample, prompting, mode)
            assert score_exact(segment.text, sample.target, truncated=False) is Verdict.CORRECT
            assert len(segment.text.split()) <= task.max_completion_tokens(prompting, mode)


@pytest.mark.parametrize("size", [1, 4, 16, 128])
def test_its_prompts_are_as_long_as_stated_and_of_known_words(latest: Latest, size: int) -> None:
    task = latest(size=size)
    prompt = render(
        task, task.sample(Split.TEST, 0, 0), Prompting.DIRECT, Style.SYMBOLIC, None
    ).split()
    assert len(prompt) == 3 * size + 4
    assert {*prompt} <= {*words.vocabulary()}
    natural = make_prompt(
        task,
        task.sample(Split.TEST, 0, 0),
        Prompting.COT,
        Style.NATURAL,
        None,
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
        query, found, _ = task.demonstration(sample, Prompting.SEARCH, Mode.REGEX)
        channel = SearchChannel(
            context_id="c",
            prompt_text=render(task, sample, Prompting.SEARCH, Style.SYMBOLIC, Mode.REGEX),
            markers=Markers(start=words.SEARCH_START, end=words.SEARCH_END),
            mode=Mode.REGEX,
            limits=SearchLimits(),
            abbreviations=task.abbreviations,
        )
        request = channel.feed(f" {query.text}")
        assert isinstance(request, SearchRequest)
        assert channel.resolve(LocalRetriever().search([request])[0]) == found.text
