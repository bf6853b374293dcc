import re
import subprocess
import sys

import pytest

from harness.errors import HarnessError
from harness.sample import Prompting, Sample, Split, Style
from harness.scoring.exact import Verdict, score_exact
from harness.tasks import TASKS, make_task
from harness.tasks import vocabulary as words
from harness.tasks.prompts import render
from harness.tasks.task import Task
from retrieval.local import LocalRetriever
from retrieval.types import Mode, SearchRequest

SIZES = (1, 4, 16, 128)


def ways(task: Task) -> list[tuple[Prompting, Mode | None]]:
    searches = [(Prompting.SEARCH, mode) for mode in task.retrieval_modes]
    return [(Prompting.DIRECT, None), (Prompting.COT, None), *searches]


def rendered(task: Task, sample: Sample) -> list[str]:
    return [render(task, sample, p, Style.SYMBOLIC, mode) for p, mode in ways(task)]


@pytest.mark.parametrize("name", TASKS)
def test_the_same_address_gives_the_same_bytes_in_another_process_and_order(name: str) -> None:
    task = make_task(name)
    here = [repr(task.sample(Split.TEST, 7, index)) for index in range(20)]
    program = (
        "from harness.tasks import make_task; from harness.sample import Split\n"
        f"task = make_task({name!r})\n"
        "for index in reversed(range(20)): print(repr(task.sample(Split.TEST, 7, index)))"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join(p for p in sys.path if p), "PYTHONHASHSEED": "99"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert list(reversed(there)) == here


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [1, 2, 16])
def test_train_and_test_share_no_context(name: str, size: int) -> None:
    task = make_task(name, size=size)
    contexts = {
        split: {task.sample(split, seed, i).context for seed in range(3) for i in range(300)}
        for split in Split
    }
    assert not contexts[Split.TRAIN] & contexts[Split.TEST]


def test_nearby_seeds_share_no_more_prompts_than_chance() -> None:
    task = make_task("assoc_recall", size=1)
    prompts = [{task.sample(Split.TEST, s, i).context for i in range(400)} for s in (42, 43)]
    # Half of 128 * 128 contexts are of the test split: 400 * 400 / 8192, about 20, meet by chance.
    assert len(prompts[0] & prompts[1]) < 45
    larger = make_task("assoc_recall", size=4)
    prompts = [{larger.sample(Split.TEST, s, i).context for i in range(400)} for s in (42, 43)]
    assert not prompts[0] & prompts[1]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [0, -1, 257, 10_000])
def test_a_size_out_of_range_is_named_with_the_range(name: str, size: int) -> None:
    kind = TASKS[name]
    with pytest.raises(HarnessError, match=rf"{size}.*{kind.min_size} to {kind.max_size}"):
        make_task(name, size=size)


@pytest.mark.parametrize("size", SIZES)
def test_a_prompt_has_the_size_that_was_asked_for(size: int) -> None:
    task = make_task("assoc_recall", size=size)
    sample = task.sample(Split.TEST, 0, 0)
    assert sample.context.count(words.SEPARATOR) == size + 1
    for prompt in rendered(task, sample):
        assert prompt.startswith(sample.context)
        assert len(prompt.split()) == 3 * size + 4


@pytest.mark.parametrize("size", SIZES)
def test_every_word_of_prompts_and_completions_is_in_the_vocabulary(size: int) -> None:
    task = make_task("assoc_recall", size=size)
    known = set(words.vocabulary())
    for index in range(20):
        sample = task.sample(Split.TEST, 0, index)
        texts = rendered(task, sample)
        texts += [s.text for p, mode in ways(task) for s in task.demonstration(sample, p, mode)]
        assert {word for text in texts for word in text.split()} <= known


@pytest.mark.parametrize("size", SIZES)
def test_every_demonstration_scores_correct(size: int) -> None:
    task = make_task("assoc_recall", size=size)
    for index in range(50):
        sample = task.sample(Split.TEST, 1, index)
        for prompting, mode in ways(task):
            segments = task.demonstration(sample, prompting, mode)
            written = " ".join(segment.text for segment in segments if not segment.inserted)
            assert score_exact(written, sample.target, truncated=False) is Verdict.CORRECT


@pytest.mark.parametrize("size", SIZES)
def test_a_regex_demonstration_inserts_what_a_search_returns(size: int) -> None:
    task = make_task("assoc_recall", size=size)
    for index in range(50):
        sample = task.sample(Split.TEST, 2, index)
        prompt = render(task, sample, Prompting.SEARCH, Style.SYMBOLIC, Mode.REGEX)
        query, result, _ = task.demonstration(sample, Prompting.SEARCH, Mode.REGEX)
        pattern = query.text.removeprefix(words.SEARCH_START).removesuffix(words.SEARCH_END)
        found = re.search(pattern.strip(), prompt)
        assert found is not None
        assert found.group(1) == result.text


@pytest.mark.parametrize("size", SIZES)
def test_a_dense_demonstration_inserts_what_a_search_returns(size: int) -> None:
    task = make_task("assoc_recall", size=size)
    retriever = LocalRetriever()
    searched = {}
    for index in range(300):
        sample = task.sample(Split.TEST, 2, index)
        query, result, _ = task.demonstration(sample, Prompting.SEARCH, Mode.DENSE)
        request = SearchRequest(
            context_id=str(index),
            text=render(task, sample, Prompting.SEARCH, Style.SYMBOLIC, Mode.DENSE),
            mode=Mode.DENSE,
            query=query.text.split()[1],
            passage_separator=words.SEPARATOR,
        )
        [found] = retriever.search([request])
        searched[sample.context] = (found.text, result.text)
    retriever.shutdown()
    assert [pair for pair in searched.values() if pair[0] != pair[1]] == []


def test_siblings_ask_every_key_of_the_context_once() -> None:
    task = make_task("assoc_recall", size=16)
    sample = task.sample(Split.TRAIN, 3, 5)
    siblings = task.siblings(sample)
    assert {s.context for s in siblings} == {sample.context}
    assert len({s.question for s in siblings}) == 16
    assert (sample.question, sample.target) in {(s.question, s.target) for s in siblings}
    for sibling in siblings:
        pair = f"{sibling.question.split()[-1]} {sibling.target} {words.SEPARATOR}"
        assert pair in sample.context


def test_every_position_is_asked() -> None:
    task = make_task("assoc_recall", size=4)
    positions = {task.sample(Split.TEST, 0, i).metadata["position"] for i in range(100)}
    assert positions == {0, 1, 2, 3}


def test_a_search_prompt_needs_a_kind_of_search() -> None:
    task = make_task("assoc_recall")
    sample = task.sample(Split.TEST, 0, 0)
    with pytest.raises(HarnessError, match="regex or dense"):
        render(task, sample, Prompting.SEARCH, Style.SYMBOLIC, None)
