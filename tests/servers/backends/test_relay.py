"""A foreign engine behind the backend: what it writes, when it is stopped, and when it dies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

import pytest
from harnessapi.values import FinishReason, Mode, ModelDescription, Outcome

from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import RetrieverUnavailableError, SearchResult
from harness_servers.backends.relay.relay_backend import RelayBackend
from harness_servers.backends.relay.token_source import Chunk, Segment
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import InvalidRequestError, QueueFullError, UnavailableError
from harness_servers.generation import (
    Delta,
    Event,
    Finished,
    GenerationRequest,
    Retrieval,
    RetrievalStep,
    Sampling,
    Started,
    Stopping,
)

PROMPT = "assoc_recall bab dok ; fem gik ; fem <regex>"
ENDLESS = GenerationRequest(text="<cot>", stopping=Stopping(max_new_tokens=10**6, ignore_eos=True))
CONTEXT_LIMIT = 40


class FakeSource:
    """Writes the word that `chain` has after the last one, `size` tokens at a time."""

    def __init__(self, tokenizer, chain: dict[str, str]) -> None:
        self._to_id = tokenizer.token_to_id
        self._next: dict[int, int] = {}
        for word, following in chain.items():
            self.follow(word, following)
        self.size = 1
        self.segments: list[Segment] = []
        self.num_open = 0
        self.died = asyncio.Event()

    def follow(self, word: str, following: str) -> None:
        self._next[self._to_id(word)] = self._to_id(following)

    async def start(self) -> None: ...

    async def generate(self, segment: Segment) -> AsyncGenerator[Chunk]:
        self.segments.append(segment)
        self.num_open += 1
        written = [segment.token_ids[-1]]
        try:
            while written[-1] not in segment.stop_ids or len(written) == 1:
                await asyncio.sleep(0.001)
                ids = self._write(written[-1], segment, len(written) - 1)
                if not ids:
                    return
                written += ids
                yield Chunk(token_ids=ids, num_cached=3)
        finally:
            self.num_open -= 1

    def _write(self, last: int, segment: Segment, num_written: int) -> list[int]:
        ids: list[int] = []
        while len(ids) < min(self.size, segment.max_new_tokens - num_written):
            last = self._next[last]
            ids.append(last)
            if last in segment.stop_ids:
                break
        return ids

    async def wait_failed(self) -> None:
        await self.died.wait()

    async def close(self) -> None: ...


@pytest.fixture
def source(tokenizer, chain) -> FakeSource:
    return FakeSource(tokenizer, chain)


@pytest.fixture
async def make(source: FakeSource, codec) -> AsyncGenerator[Callable[..., RelayBackend]]:
    made = []

    async def make_backend(retriever=None, context_limit=None, **options) -> RelayBackend:
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
        backend = RelayBackend(
            source=source,
            codec=codec,
            description=description,
            retriever=retriever or LocalRetriever(),
            options=EngineOptions(**options),
        )
        made.append(backend)
        await backend.start()
        return backend

    yield make_backend
    for backend in made:
        await backend.close()


async def collect(backend: RelayBackend, request: GenerationRequest) -> list[Event]:
    return [event async for event in backend.generate(request)]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def with_search(**how) -> GenerationRequest:
    return GenerationRequest(text=PROMPT, retrieval=Retrieval(mode=Mode.REGEX, **how))


async def test_a_search_is_spliced_in_and_the_engine_goes_on_from_all_of_it(
    make, source, codec
) -> None:
    events = await collect(await make(), with_search())
    assert text(events) == r" <search> fem (\S+) </search> gik <answer> bab"
    [step] = [event for event in events if isinstance(event, RetrievalStep)]
    assert (step.query, step.outcome) == (r"fem (\S+)", Outcome.FOUND)
    first, second = source.segments
    assert codec.decode(second.token_ids) == PROMPT + r" <search> fem (\S+) </search> gik"
    assert second.max_new_tokens == first.max_new_tokens - 4
    assert (events[0].num_cached_tokens, type(events[-1])) == (3, Finished)
    assert (events[-1].reason, events[-1].num_generated_tokens) == (FinishReason.EOS, 7)


async def test_an_abbreviation_is_searched_as_its_pattern(make) -> None:
    before = Abbreviation(query=r"$1 (\S+)", pattern=r"(\S+) ; $1")
    events = await collect(await make(), with_search(abbreviations=(before,)))
    [step] = [event for event in events if isinstance(event, RetrievalStep)]
    assert (step.query, step.expanded_query) == (r"fem (\S+)", r"(\S+) ; fem")
    assert step.inserted_text == "dok"


async def test_without_retrieval_the_engine_does_not_stop_at_markers(make, source) -> None:
    events = await collect(await make(), GenerationRequest(text=PROMPT))
    assert text(events) == r" <search> fem (\S+) </search>"
    assert len(source.segments) == 1


async def test_an_end_marker_outside_a_query_is_written_on_from(make, source) -> None:
    source.follow("hob", "</search>")
    request = GenerationRequest(text="<direct>", retrieval=Retrieval(mode=Mode.REGEX))
    assert text(await collect(await make(), request)) == " hob </search>"
    assert len(source.segments) == 2


@pytest.mark.parametrize("size", [1, 3, 100])
async def test_a_stop_string_fires_in_the_answer_alone_and_ends_the_engines_work(
    make, source, size: int
) -> None:
    source.size = size
    source.follow("<eos>", "<eos>")
    backend = await make()
    request = GenerationRequest(
        text="<direct>", stopping=Stopping(stop=("hob", "bab"), ignore_eos=True)
    )
    events = await collect(backend, request)
    assert text(events) == " hob <answer> "
    assert events[-1].reason is FinishReason.STOP
    await asyncio.sleep(0.01)
    assert source.num_open == 0


async def test_a_full_context_ends_the_sequence_and_says_so(make) -> None:
    backend = await make(context_limit=CONTEXT_LIMIT)
    events = await collect(backend, ENDLESS)
    assert events[-1].reason is FinishReason.CONTEXT_FULL
    assert events[-1].num_generated_tokens == CONTEXT_LIMIT - 1
    with pytest.raises(InvalidRequestError, match="fills the context of 40"):
        await collect(backend, GenerationRequest(token_ids=(1,) * CONTEXT_LIMIT))


async def test_an_insertion_that_does_not_fit_ends_the_sequence(make, codec) -> None:
    limit = len(codec.encode(PROMPT).ids) + 5
    events = await collect(await make(context_limit=limit), with_search())
    assert text(events).endswith("</search> gik")
    assert events[-1].reason is FinishReason.CONTEXT_FULL


async def test_a_deadline_ends_those_who_run_and_those_who_wait(make, source) -> None:
    backend = await make(num_slots=1)
    hurried = replace(ENDLESS, deadline_s=0.1)
    for events in await asyncio.gather(*[collect(backend, hurried) for _ in range(2)]):
        assert (type(events[0]), events[-1].reason) == (Started, FinishReason.DEADLINE)
    assert source.num_open == 0
    assert len(source.segments) == 1


async def test_a_reader_that_goes_away_ends_the_engines_work_and_frees_its_slot(
    make, source
) -> None:
    backend = await make(num_slots=1)
    async with contextlib.aclosing(backend.generate(ENDLESS)) as events:
        await anext(events)
        assert source.num_open == 1
    assert (await collect(backend, with_search()))[-1].reason is FinishReason.EOS
    assert source.num_open == 0


async def test_past_the_queues_bound_requests_are_refused(make) -> None:
    backend = await make(num_slots=1, max_queued=1)
    tasks = [asyncio.create_task(collect(backend, ENDLESS)) for _ in range(2)]
    await asyncio.sleep(0.05)
    with pytest.raises(QueueFullError, match="the queue holds 2"):
        await collect(backend, ENDLESS)
    for task in tasks:
        task.cancel()


async def test_an_engine_that_dies_ends_everyone_and_takes_nobody_in(make, source) -> None:
    backend = await make(num_slots=1)
    tasks = [asyncio.create_task(collect(backend, ENDLESS)) for _ in range(3)]
    await asyncio.sleep(0.05)
    source.died.set()
    await asyncio.wait_for(backend.wait_failed(), 1)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, UnavailableError)
    with pytest.raises(UnavailableError, match="the engine died"):
        await collect(backend, ENDLESS)


async def test_closing_ends_what_is_running(make) -> None:
    backend = await make()
    task = asyncio.create_task(collect(backend, ENDLESS))
    await asyncio.sleep(0.05)
    await backend.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        await task


async def test_a_retriever_that_is_gone_fails_those_who_asked_it(make) -> None:
    class Gone(LocalRetriever):
        def search(self, requests):
            raise RetrieverUnavailableError("gone")

    with pytest.raises(UnavailableError, match="gone"):
        await collect(await make(Gone()), with_search())


async def test_a_slow_search_holds_up_nobody_else(make) -> None:
    class Slow(LocalRetriever):
        def search(self, requests):
            time.sleep(0.3)
            return [SearchResult(outcome=Outcome.FOUND, text="gik") for _ in requests]

    backend = await make(Slow())
    searching = asyncio.create_task(collect(backend, with_search()))
    await asyncio.sleep(0.05)
    began = time.monotonic()
    await collect(backend, replace(ENDLESS, stopping=Stopping(max_new_tokens=30)))
    assert time.monotonic() - began < 0.2
    assert not searching.done()
    assert (await searching)[-1].retrieval_ns > 0.25e9


async def test_segments_of_one_sequence_draw_from_different_seeds(make, source) -> None:
    request = replace(with_search(), sampling=Sampling(temperature=1.0, seed=7))
    backend = await make()
    for _ in range(2):
        await collect(backend, request)
    seeds = [segment.sampling.seed for segment in source.segments]
    assert seeds[:2] == seeds[2:]
    assert seeds[0] != seeds[1]


async def test_tokens_are_joined_into_few_messages(make) -> None:
    backend = await make(flush_interval_ns=50_000_000)
    events = await collect(backend, replace(ENDLESS, stopping=Stopping(max_new_tokens=100)))
    deltas = [event for event in events if isinstance(event, Delta)]
    assert len(deltas[0].token_ids) == 1
    assert len(deltas) < 20
    assert sum(len(delta.token_ids) for delta in deltas) == 100
