"""Any engine behind a backend: what it is told, when it is stopped, and when it dies."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

import pytest
from harnessapi.values import FinishReason, Mode, ModelDescription, Outcome

from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import RetrieverUnavailableError, SearchResult
from harness_servers.backends.backend import Backend
from harness_servers.errors import QueueFullError, UnavailableError
from harness_servers.generation import (
    Delta,
    Event,
    Finished,
    Job,
    Retrieval,
    RetrievalStep,
    Started,
    Stopping,
    TokenLogProb,
)
from harness_servers.sequences.runner_options import RunnerOptions
from harness_servers.token_source import Closing, Command, Extension, News, Opening, TokenChunk

PROMPT = "assoc_recall bab dok ; fem gik ; fem <regex>"
ENDLESS = Stopping(max_new_tokens=10**6, ignore_eos=True)
CONTEXT_LIMIT = 40


@dataclass
class Open:
    """A sequence that the fake engine has."""

    opening: Opening
    tokens: list[int]
    num_left: int
    is_paused: bool = False


class FakeSource:
    """Writes the word that `chain` has after the last one, `size` tokens of a sequence at once."""

    def __init__(self, tokenizer, chain: dict[str, str]) -> None:
        self._to_id = tokenizer.token_to_id
        self._next: dict[int, int] = {}
        for word, following in chain.items():
            self.follow(word, following)
        self.size = 1
        self.commands: list[Command] = []
        self.open: dict[int, Open] = {}
        self.may_score = asyncio.Event()
        self.may_score.set()
        self.died = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, word: str, following: str) -> None:
        self._next[self._to_id(word)] = self._to_id(following)

    def of(self, kind: type) -> list:
        return [command for command in self.commands if isinstance(command, kind)]

    async def start(self, listen: Callable[[News], None]) -> None:
        self._task = asyncio.create_task(self._run(listen))

    def send(self, command: Command) -> None:
        self.commands.append(command)
        match command:
            case Opening(sequence_id=number, token_ids=ids, max_new_tokens=limit):
                self.open[number] = Open(command, list(ids), limit)
            case Extension(sequence_id=number, token_ids=ids, max_new_tokens=limit):
                one = self.open[number]
                assert one.is_paused
                one.tokens += ids
                one.num_left, one.is_paused = limit, False
            case Closing(sequence_id=number):
                del self.open[number]

    async def _run(self, listen: Callable[[News], None]) -> None:
        while True:
            await asyncio.sleep(0.001)
            running = [number for number, one in self.open.items() if not one.is_paused]
            chunks = [
                self._score(n) if self.open[n].opening.first_scored else self._write(n)
                for n in running
            ]
            listen(News(at_ns=time.monotonic_ns(), chunks=chunks))

    def _write(self, number: int) -> TokenChunk:
        one, ids = self.open[number], []
        while len(ids) < self.size and not one.is_paused:
            ids.append(self._next[one.tokens[-1]])
            one.tokens.append(ids[-1])
            one.num_left -= 1
            one.is_paused = ids[-1] in one.opening.stop_ids or not one.num_left
        return TokenChunk(sequence_id=number, token_ids=ids, num_cached=3, is_paused=one.is_paused)

    def _score(self, number: int) -> TokenChunk:
        """A token is as likely as its place is near."""
        one = self.open[number]
        if not self.may_score.is_set():
            return TokenChunk(sequence_id=number, num_cached=0)
        one.is_paused = True
        scored = [
            TokenLogProb(token_id=token, log_prob=-float(place))
            for place, token in enumerate(one.tokens)
        ]
        first = one.opening.first_scored
        return TokenChunk(
            sequence_id=number, num_cached=0, log_probs=scored[first:], is_paused=True
        )

    async def wait_failed(self) -> str:
        await self.died.wait()
        return "the engine died: of old age"

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()


@pytest.fixture
def source(tokenizer, chain) -> FakeSource:
    return FakeSource(tokenizer, chain)


@pytest.fixture
async def make(source: FakeSource, codec) -> AsyncGenerator[Callable[..., Backend]]:
    made = []

    async def make_backend(retriever=None, context_limit=None, **options) -> Backend:
        description = ModelDescription(
            name="fake",
            family="transformer",
            checkpoint_digest="",
            tokenizer_digest="",
            num_parameters=0,
            state_bytes=0,
            state_bytes_per_token=0,
            context_limit=context_limit,
            engine="fake",
            engine_version="",
            dtype="float32",
            device="cpu",
            vocabulary_size=812,
            num_slots=2,
            max_prompt_tokens=100,
            markers=codec.markers,
            modes=tuple(Mode),
            styles=(),
        )
        backend = Backend(
            source=source,
            codec=codec,
            description=description,
            retriever=retriever or LocalRetriever(),
            options=RunnerOptions(**options),
        )
        made.append(backend)
        await backend.start()
        return backend

    yield make_backend
    for backend in made:
        await backend.close()


async def collect(backend: Backend, job: Job) -> list[Event]:
    return [event async for event in backend.generate(job)]


async def until(is_so: Callable[[], bool]) -> None:
    """Waits for something that is due; the limit is for machines that are busy."""
    async with asyncio.timeout(600):
        while not is_so():
            await asyncio.sleep(0.001)


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


@pytest.fixture
def endless(make_job) -> Job:
    return make_job("<cot>", stopping=ENDLESS)


@pytest.fixture
def with_search(make_job) -> Callable[..., Job]:
    def make(sampling=None, **how) -> Job:
        retrieval = Retrieval(mode=Mode.REGEX, **how)
        return make_job(PROMPT, retrieval=retrieval, sampling=sampling)

    return make


async def test_a_search_is_spliced_in_and_the_engine_goes_on_from_all_of_it(
    make, source, codec, with_search
) -> None:
    events = await collect(await make(), with_search())
    assert text(events) == r" <search> fem (\S+) </search> gik <answer> bab"
    [step] = [event for event in events if isinstance(event, RetrievalStep)]
    assert (step.query, step.outcome) == (r"fem (\S+)", Outcome.FOUND)
    [opening], [extension] = source.of(Opening), source.of(Extension)
    assert codec.decode(opening.token_ids) == PROMPT
    assert codec.decode(extension.token_ids) == "gik"
    assert extension.max_new_tokens == opening.max_new_tokens - 4
    assert type(source.commands[-1]) is Closing
    assert (events[0].num_cached_tokens, type(events[-1])) == (3, Finished)
    assert (events[-1].reason, events[-1].num_generated_tokens) == (FinishReason.EOS, 7)


async def test_an_abbreviation_is_searched_as_its_pattern(make, with_search) -> None:
    before = Abbreviation(query=r"$1 (\S+)", pattern=r"(\S+) ; $1")
    events = await collect(await make(), with_search(abbreviations=(before,)))
    [step] = [event for event in events if isinstance(event, RetrievalStep)]
    assert (step.query, step.expanded_query) == (r"fem (\S+)", r"(\S+) ; fem")
    assert step.inserted_text == "dok"


async def test_without_retrieval_the_engine_does_not_stop_at_markers(
    make, source, make_job
) -> None:
    events = await collect(await make(), make_job(PROMPT))
    assert text(events) == r" <search> fem (\S+) </search>"
    assert source.of(Extension) == []


async def test_an_end_marker_outside_a_query_is_written_on_from(
    make, source, make_job, regex
) -> None:
    source.follow("hob", "</search>")
    job = make_job("<direct>", retrieval=regex)
    assert text(await collect(await make(), job)) == " hob </search>"
    assert [one.token_ids for one in source.of(Extension)] == [()]


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_a_stop_string_fires_in_the_answer_alone_and_ends_the_engines_work(
    make, source, make_job, size: int
) -> None:
    source.size = size
    source.follow("<eos>", "<eos>")
    backend = await make()
    job = make_job("<direct>", stopping=Stopping(stop=("hob", "bab"), ignore_eos=True))
    events = await collect(backend, job)
    assert text(events) == " hob <answer> "
    assert events[-1].reason is FinishReason.STOP
    await until(lambda: not source.open)


async def test_a_full_context_ends_the_sequence_and_says_so(make, endless) -> None:
    backend = await make(context_limit=CONTEXT_LIMIT)
    events = await collect(backend, endless)
    assert events[-1].reason is FinishReason.CONTEXT_FULL
    assert events[-1].num_generated_tokens == CONTEXT_LIMIT - 1


async def test_an_insertion_that_does_not_fit_ends_the_sequence(make, codec, with_search) -> None:
    limit = len(codec.encode(PROMPT).ids) + 5
    events = await collect(await make(context_limit=limit), with_search())
    assert text(events).endswith("</search> gik")
    assert events[-1].reason is FinishReason.CONTEXT_FULL


async def test_a_deadline_ends_one_that_waits_and_one_that_runs(make, source, make_job) -> None:
    backend = await make(num_slots=1)

    def in_a_moment() -> Job:
        return make_job("<cot>", stopping=ENDLESS, deadline_ns=time.monotonic_ns() + 100_000_000)

    async with contextlib.aclosing(backend.generate(make_job("<cot>", stopping=ENDLESS))) as events:
        await anext(events)
        waiting = await collect(backend, in_a_moment())
        assert len(source.of(Opening)) == 1
    running = await collect(backend, in_a_moment())
    for received in (waiting, running):
        assert (type(received[0]), received[-1].reason) == (Started, FinishReason.DEADLINE)
    await until(lambda: not source.open)


async def test_a_reader_that_goes_away_ends_the_engines_work_and_frees_its_slot(
    make, source, endless, with_search
) -> None:
    backend = await make(num_slots=1)
    async with contextlib.aclosing(backend.generate(endless)) as events:
        await anext(events)
        assert len(source.open) == 1
    assert (await collect(backend, with_search()))[-1].reason is FinishReason.EOS
    assert not source.open


@pytest.mark.parametrize("prompt", [(), (5,), (5, 6, 7)])
async def test_what_is_given_is_scored_after_its_prompt(make, source, make_job, prompt) -> None:
    job = make_job(prompt, given_ids=(8, 9), top_log_probs=4)
    started, scored, finished = await collect(await make(), job)
    assert (type(started), type(finished)) == (Started, Finished)
    log_probs = [None if place == 0 else -float(place) for place in range(len(prompt) + 2)]
    assert [one.log_prob for one in scored.log_probs] == log_probs[-2:]
    assert [one.token_id for one in scored.log_probs] == [8, 9]
    [opening] = source.of(Opening)
    assert (opening.token_ids, opening.first_scored) == ([*prompt, 8, 9], max(1, len(prompt)))


async def test_a_first_token_alone_needs_no_engine(make, source, make_job) -> None:
    events = await collect(await make(), make_job((), given_ids=(8,), top_log_probs=0))
    assert events[1].log_probs == (TokenLogProb(token_id=8, log_prob=None),)
    assert source.commands == []


async def test_a_deadline_and_a_reader_that_goes_away_end_a_score(make, source, make_job) -> None:
    source.may_score.clear()
    backend = await make(num_slots=1)
    deadline_ns = time.monotonic_ns() + 50_000_000
    job = make_job((5,), given_ids=(8, 9), top_log_probs=0, deadline_ns=deadline_ns)
    started, finished = await collect(backend, job)
    assert (type(started), finished.reason) == (Started, FinishReason.DEADLINE)
    task = asyncio.create_task(collect(backend, make_job((5,), given_ids=(8,), top_log_probs=0)))
    await until(lambda: len(source.open) == 1)
    task.cancel()
    await until(lambda: not source.open)


async def test_past_the_queues_bound_requests_are_refused(make, endless) -> None:
    backend = await make(num_slots=1, max_queued=1)
    tasks = [asyncio.create_task(collect(backend, endless)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError, match="the queue holds 2"):
        await collect(backend, endless)
    for task in tasks:
        task.cancel()


async def test_an_engine_that_dies_ends_everyone_and_takes_nobody_in(make, source, endless) -> None:
    backend = await make(num_slots=1)
    tasks = [asyncio.create_task(collect(backend, endless)) for _ in range(3)]
    await until(lambda: len(source.open) == 1)
    source.died.set()
    await asyncio.wait_for(backend.wait_failed(), 600)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, UnavailableError)
    with pytest.raises(UnavailableError, match="the engine died"):
        await collect(backend, endless)


async def test_closing_ends_what_is_running(make, source, endless) -> None:
    backend = await make()
    task = asyncio.create_task(collect(backend, endless))
    await until(lambda: len(source.open) == 1)
    await backend.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        await task


async def test_a_retriever_that_is_gone_fails_those_who_asked_it(make, with_search) -> None:
    class Gone(LocalRetriever):
        def search(self, requests):
            raise RetrieverUnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        await collect(await make(Gone()), with_search())


async def test_a_slow_search_holds_up_nobody_else(make, make_job, with_search) -> None:
    is_searching, may_answer = threading.Event(), threading.Event()

    class Slow(LocalRetriever):
        def search(self, requests):
            is_searching.set()
            may_answer.wait(600)
            return [SearchResult(outcome=Outcome.FOUND, text="gik") for _ in requests]

    backend = await make(Slow())
    searching = asyncio.create_task(collect(backend, with_search()))
    await until(is_searching.is_set)
    await collect(backend, make_job("<cot>", stopping=Stopping(max_new_tokens=30, ignore_eos=True)))
    assert not searching.done()
    may_answer.set()
    assert (await searching)[-1].retrieval_ns > 0


async def test_who_reads_slowly_gets_all_of_it_and_delays_nobody(make, make_job) -> None:
    backend = await make(flush_interval_ns=0, flush_interval_per_sequence_ns=0)
    job = make_job("<cot>", stopping=Stopping(max_new_tokens=200, ignore_eos=True))
    async with contextlib.aclosing(backend.generate(job)) as slow:
        received = [await anext(slow), await anext(slow)]
        quick = await collect(backend, job)
        received += [event async for event in slow]
    assert text(received) == text(quick)
    # What gathered while nobody read it came as one.
    assert len(received) < 10 < len(quick)


async def test_a_fault_of_one_sequence_in_the_engine_ends_that_one(make, source, endless) -> None:
    backend = await make()
    tasks = [asyncio.create_task(collect(backend, endless)) for _ in range(2)]
    await until(lambda: len(source.open) == 2)
    number = min(source.open)
    backend._take_news(News(at_ns=0, chunks=[TokenChunk(sequence_id=number, error="it broke")]))
    with pytest.raises(UnavailableError, match="it broke"):
        await tasks[0]
    assert [*source.open] == [number + 1]
    tasks[1].cancel()


async def test_tokens_are_joined_into_few_messages(make, make_job) -> None:
    backend = await make(flush_interval_ns=10**12)
    job = make_job("<cot>", stopping=Stopping(max_new_tokens=100, ignore_eos=True))
    deltas = [event for event in await collect(backend, job) if isinstance(event, Delta)]
    # The first at once, the rest at the end: the interval is longer than the test.
    assert [len(delta.token_ids) for delta in deltas] == [1, 99]


async def test_a_long_result_is_tokenized_beside_the_event_loop(make, codec, with_search) -> None:
    class Lengthy(LocalRetriever):
        def search(self, requests):
            return [SearchResult(outcome=Outcome.FOUND, text="gik " * 5_000) for _ in requests]

    threads = []
    encode = codec.encode_insertion

    def noting(text, stream):
        threads.append(threading.current_thread())
        return encode(text, stream)

    backend = await make(Lengthy())
    backend.codec.encode_insertion = noting
    try:
        events = await collect(backend, with_search(max_inserted_tokens=100))
    finally:
        del backend.codec.encode_insertion
    [step] = [event for event in events if isinstance(event, RetrievalStep)]
    assert (step.num_inserted_tokens, step.truncated) == (100, True)
    assert threading.current_thread() not in threads
    assert len(threads) == 1
