"""Every demonstration with searches is replayed: the real search has to insert what it says."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from harnessapi.values import Markers, Mode

from harness.sample import Sample, Split
from harness.tasks import TASKS, make_task
from harness.tasks import vocabulary as words
from harness.tasks.prompts import make_prompt, render
from harness.tasks.symbolic import Piece, ask, write
from harness.tasks.task import Task
from harness.way import SearchArm, Way
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.regex.regex_search import MAX_WORK, work_per_byte
from harness_retrieval.types import SearchRequest

MARKERS = Markers(
    start=words.SEARCH_START,
    end=words.SEARCH_END,
    failed=words.FAILED,
    passage_separator=words.SEPARATOR,
)
VARIANTS = [
    *((name, {}) for name in TASKS),
    ("is_tree", {"labels": 257}),
    ("is_tree", {"trace": 1}),
    ("ngram_retrieval", {"order": 2}),
    ("ngram_retrieval", {"order": 4}),
    ("mqar", {"queries": 1}),
    ("phonebook", {"queries": 4}),
    ("needle", {"keys": 1, "values": 1}),
    ("needle", {"keys": 8, "values": 4}),
]
SIZES = (4, 5, 16, 33, 64)
# After so many a cell is done: a graph of 64 vertices alone makes some 330.
ENOUGH_SEARCHES = 1500


class Replay:
    """Feeds what the model writes to the channel, and notes what the search would have inserted."""

    def __init__(self) -> None:
        self.retriever = LocalRetriever()
        self.num_contexts = 0
        self.num_searches = 0
        self.largest_work = 0

    def insertions(
        self, task: Task, prompt: str, segments: Sequence[Piece], mode: Mode
    ) -> list[str]:
        self.num_contexts += 1
        channel = SearchChannel(
            context_id=str(self.num_contexts),
            prompt_text=prompt,
            markers=MARKERS,
            mode=mode,
            limits=SearchLimits(max_searches=10_000),
            abbreviations=task.abbreviations,
        )
        inserted: list[str] = []
        for segment in segments:
            if segment.inserted:
                continue
            request = channel.feed(f" {segment.text}")
            assert not channel.unread
            if request is None:
                continue
            assert isinstance(request, SearchRequest)
            self.num_searches += 1
            self.note_work(request)
            inserted.append(channel.resolve(self.retriever.search([request])[0]))
            channel.inserted(f" {inserted[-1]}")
        self.retriever.close_contexts([str(self.num_contexts)])
        return inserted

    def note_work(self, request: SearchRequest) -> None:
        if request.mode is Mode.REGEX:
            work = work_per_byte(request.query) * len(request.text.encode())
            self.largest_work = max(self.largest_work, work)


def searched(name: str, size: int, parameters: dict[str, int]) -> list[tuple[Task, Mode]]:
    task = make_task(name, size=size, **parameters)
    return [(task, mode) for mode in task.retrieval_modes]


def search(mode: Mode) -> Way:
    return Way.parse(f"search {mode}")


def expected(segments: Sequence[Piece]) -> list[str]:
    return [segment.text for segment in segments if segment.inserted]


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_a_search_inserts_what_the_demonstration_says(
    name: str, parameters: dict[str, int], size: int
) -> None:
    for task, mode in searched(name, size, parameters):
        replay = Replay()
        for index in range(60):
            if replay.num_searches > ENOUGH_SEARCHES:
                break
            sample = task.sample(Split.TEST, 1, index)
            prompt = render(task, sample, search(mode))
            segments = write(sample.steps(search(mode)))
            assert replay.insertions(task, prompt, segments, mode) == expected(segments)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_so_it_does_where_several_questions_follow_one_context(
    name: str, parameters: dict[str, int], size: int
) -> None:
    for task, mode in searched(name, size, parameters):
        replay = Replay()
        # What a search that cannot find the answer inserts is shown for a single question only.
        if mode in task.impossible:
            continue
        for index in range(8):
            if replay.num_searches > ENOUGH_SEARCHES:
                break
            text = task.sample(Split.TRAIN, 1, index).context
            for question in several(task.sample(Split.TRAIN, 1, index)):
                text += f" {ask(question, search(mode))}"
                segments = write(question.steps(search(mode)))
                assert replay.insertions(task, text, segments, mode) == expected(segments)
                text += "".join(f" {segment.text}" for segment in segments)


@pytest.mark.parametrize(("name", "parameters"), VARIANTS)
@pytest.mark.parametrize("size", SIZES)
def test_a_search_of_the_false_copy_inserts_what_is_true_of_that(
    name: str, parameters: dict[str, int], size: int
) -> None:
    for task, mode in searched(name, size, parameters):
        replay = Replay()
        lying = replace(search(mode), search=SearchArm.LYING)
        for index in range(20):
            if replay.num_searches > ENOUGH_SEARCHES:
                break
            sample = task.sample(Split.TEST, 1, index)
            prompt = make_prompt(task, sample, lying)
            twin = sample.false_twin()
            assert twin is not None
            assert prompt.text == render(task, sample, search(mode))
            assert prompt.searched is not None
            segments = write(twin.steps(search(mode)))
            assert replay.insertions(task, prompt.searched, segments, mode) == expected(segments)


def several(sample: Sample) -> list[Sample]:
    siblings = sample.siblings()
    return random.Random(sample.address.key).sample(siblings, min(6, len(siblings)))


@pytest.mark.parametrize(
    "name", [name for name in TASKS if Mode.REGEX in TASKS[name].retrieval_modes]
)
def test_the_patterns_of_a_task_stay_far_below_what_a_search_may_cost(name: str) -> None:
    task, replay = make_task(name, size=TASKS[name].max_size), Replay()
    for index in range(2):
        sample = task.sample(Split.TEST, 0, index)
        for question in (sample, *sample.siblings()[-2:]):
            prompt = render(task, question, search(Mode.REGEX))
            segments = write(question.steps(search(Mode.REGEX)))
            assert replay.insertions(task, prompt, segments, Mode.REGEX) == expected(segments)
    # At the end of 70,000 characters of trace one pattern counts the edges of a graph: 0.87.
    assert 0 < replay.largest_work <= MAX_WORK * (0.9 if name == "is_tree" else 0.25)


@pytest.mark.parametrize("size", [128, 256])
def test_the_longest_traces_are_searched_to_their_end(size: int) -> None:
    task = make_task("is_tree", size=size)
    sample = next(
        sample for i in range(99) if (sample := task.sample(Split.TEST, 0, i)).target == "yes"
    )
    prompt = render(task, sample, search(Mode.REGEX))
    segments = write(sample.steps(search(Mode.REGEX)))
    found = Replay().insertions(task, prompt, segments, Mode.REGEX)
    assert found == expected(segments)
    assert len(found) > 5 * size


def test_every_position_of_a_long_context_is_found_by_its_pattern() -> None:
    task, replay = make_task("index", size=256), Replay()
    for sample in task.sample(Split.TEST, 0, 0).siblings():
        prompt = render(task, sample, search(Mode.REGEX))
        segments = write(sample.steps(search(Mode.REGEX)))
        assert replay.insertions(task, prompt, segments, Mode.REGEX) == [sample.target]


def test_the_last_position_of_a_long_context_is_found_after_all_the_others() -> None:
    task = make_task("position_retrieval", size=256)
    sample = task.sample(Split.TEST, 0, 0).siblings()[-1]
    prompt = render(task, sample, search(Mode.REGEX))
    segments = write(sample.steps(search(Mode.REGEX)))
    found = Replay().insertions(task, prompt, segments, Mode.REGEX)
    assert found == [words.FAILED] * 255 + [sample.question]


@pytest.mark.parametrize(("name", "size"), [("mqar", 128), ("phonebook", 256), ("needle", 256)])
def test_searches_of_the_longest_contexts_insert_what_the_demonstrations_say(
    name: str, size: int
) -> None:
    replay = Replay()
    for task, mode in searched(name, size, {}):
        for sample in task.sample(Split.TEST, 2, 0).siblings()[:40]:
            prompt = render(task, sample, search(mode))
            segments = write(sample.steps(search(mode)))
            assert replay.insertions(task, prompt, segments, mode) == expected(segments)
