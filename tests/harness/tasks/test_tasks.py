import subprocess
import sys

import pytest
from harnessapi.values import Mode

from harness.errors import HarnessError
from harness.sample import Sample, Split
from harness.scoring.exact import Verdict, score_exact
from harness.tasks import TASKS, make_task
from harness.tasks import vocabulary as words
from harness.tasks.prompts import render
from harness.tasks.symbolic import Piece, write
from harness.tasks.task import Task
from harness.way import Prompting, Way

SIZES = (4, 16, 64)


def rendered(task: Task, sample: Sample) -> list[str]:
    return [render(task, sample, way) for way in task.ways()]


def written(pieces: tuple[Piece, ...]) -> str:
    return " ".join(piece.text for piece in pieces if not piece.inserted)


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
@pytest.mark.parametrize("size", [0, 1, 12])
def test_train_and_test_share_no_context(name: str, size: int) -> None:
    task = make_task(name, size=TASKS[name].min_size + size)
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


@pytest.mark.parametrize("name", TASKS)
def test_nearby_seeds_share_no_prompt_where_there_are_many(name: str) -> None:
    # There are only 4096 rows of 12 bits.
    task = make_task(name, size=64 if name == "parity" else 12)
    prompts = [{task.sample(Split.TEST, s, i).context for i in range(400)} for s in (42, 43)]
    assert [len(contexts) for contexts in prompts] == [400, 400]
    assert not prompts[0] & prompts[1]


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [0, -1, 257, 10_000])
def test_a_size_out_of_range_is_named_with_the_range(name: str, size: int) -> None:
    kind = TASKS[name]
    with pytest.raises(HarnessError, match=rf"{size}.*{kind.min_size} to {kind.max_size}"):
        make_task(name, size=size)


LENGTHS = {
    "assoc_recall": lambda size: 3 * size + 4,
    "index": lambda size: 2 * size + 4,
    "ngram_retrieval": lambda size: size + 3 + 2,
    "counting": lambda size: size + 5,
    "is_tree": lambda size: 3 * size,
    "copy": lambda size: size + 4,
    "mqar": lambda size: 3 * size + 3 + size,
    "phonebook": lambda size: 7 * size + 5,
    "position_retrieval": lambda size: 2 * size + 4,
    "needle": lambda size: 4 * (size + 4 * 2) + 4,
    "permutation_composition": lambda size: 6 * size + 3,
    "parity": lambda size: size + 3,
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", [*SIZES, 128])
def test_a_prompt_has_the_length_that_the_task_states(name: str, size: int) -> None:
    task = make_task(name, size=size)
    sample = task.sample(Split.TEST, 0, 0)
    for prompt in rendered(task, sample):
        assert prompt.split()[0] in words.TASK_WORDS
        assert prompt.startswith(sample.context)
        assert prompt == " ".join(prompt.split())
        assert len(prompt.split()) == LENGTHS[name](size)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("size", SIZES)
def test_every_demonstration_scores_correct(name: str, size: int) -> None:
    task = make_task(name, size=size)
    for index in range(50):
        sample = task.sample(Split.TEST, 1, index)
        for way in task.ways():
            text = written(write(sample.steps(way)))
            assert score_exact(text, sample.target, truncated=False) is Verdict.CORRECT


@pytest.mark.parametrize("name", TASKS)
def test_siblings_are_about_one_context_and_the_sample_is_among_them(name: str) -> None:
    task = make_task(name, size=16)
    for index in range(30):
        sample = task.sample(Split.TRAIN, 3, index)
        siblings = sample.siblings()
        assert sample in siblings
        assert {(s.context, s.address) for s in siblings} == {(sample.context, sample.address)}
        assert len({s.question for s in siblings}) == len(siblings)


@pytest.mark.parametrize("name", TASKS)
def test_a_search_is_asked_for_or_said_to_be_impossible_and_the_preferred_one_is_not(
    name: str,
) -> None:
    task = make_task(name)
    assert {*task.retrieval_modes, *task.impossible} == set(Mode)
    assert not task.impossible.keys() & {*task.retrieval_modes[:1]}
    assert bool(task.retrieval_modes) == (Prompting.SEARCH in task.promptings)
    assert task.instruction.endswith(".")


def test_a_search_that_the_task_does_not_have_is_refused() -> None:
    task = make_task("counting")
    with pytest.raises(HarnessError, match="no dense search; it has: regex"):
        render(task, task.sample(Split.TEST, 0, 0), Way.parse("search dense"))


def test_siblings_ask_every_key_of_the_context_once() -> None:
    task = make_task("assoc_recall", size=16)
    sample = task.sample(Split.TRAIN, 3, 5)
    siblings = sample.siblings()
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
    with pytest.raises(HarnessError, match="regex or dense"):
        Way(prompting=Prompting.SEARCH)
