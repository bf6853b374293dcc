"""The engine on its own thread, read on the event loop: waking, refusing, failing, closing."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import pytest
import torch
from harnessapi.values import FinishReason

from harness_retrieval.local import LocalRetriever
from harness_servers.backends.backend import Backend
from harness_servers.backends.in_process import backend_in_process
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.errors import QueueFullError, UnavailableError
from harness_servers.generation import Delta, Event, Job, Started, Stopping
from harness_servers.models.lstm import LstmModel
from harness_servers.sequences.runner_options import RunnerOptions

ENDLESS = Stopping(max_new_tokens=10**6, ignore_eos=True)
ONE_TOKEN = Stopping(max_new_tokens=1)


@pytest.fixture
async def make(checkpoint_of) -> AsyncIterator[Callable[..., Backend]]:
    made = []

    async def make_backend(model, retriever=None, *, num_slots=64, max_queued=1024) -> Backend:
        backend = backend_in_process(
            checkpoint_of(model),
            retriever=retriever or LocalRetriever(),
            runner_options=RunnerOptions(num_slots=num_slots, max_queued=max_queued),
            options=EngineOptions(num_slots=num_slots),
            max_prompt_tokens=100,
            name="test",
        )
        made.append(backend)
        await backend.start()
        return backend

    yield make_backend
    for backend in made:
        await backend.close()


async def collect(backend: Backend, job: Job) -> list[Event]:
    return [event async for event in backend.generate(job)]


async def begin(backend: Backend, job: Job) -> "asyncio.Task[list[Event]]":
    """A reader whose completion has left the queue, or waits where all slots are taken."""
    task = asyncio.create_task(collect(backend, job))
    await asyncio.sleep(0)
    return task


class BrokenModel(LstmModel):
    """Dies when it reads token 666."""

    def decode(self, tokens_B, state, slots_B):
        if (tokens_B == 666).any():
            raise ArithmeticError("666")
        return super().decode(tokens_B, state, slots_B)


async def test_a_request_wakes_a_thread_that_rests(make, lstm, make_job) -> None:
    backend = await make(lstm)
    for _ in range(3):
        events = await collect(backend, make_job((1, 2, 3), stopping=ONE_TOKEN))
        assert any(isinstance(event, Delta) for event in events)


async def test_past_the_queues_bound_requests_are_refused_until_one_ends(
    make, lstm, make_job
) -> None:
    backend = await make(lstm, num_slots=2, max_queued=1)
    running = [await begin(backend, make_job((1, 2), stopping=ENDLESS)) for _ in range(3)]
    with pytest.raises(QueueFullError, match="the queue holds 3"):
        await collect(backend, make_job((1, 2)))
    running[0].cancel()
    await asyncio.wait(running[:1])
    later = await begin(backend, make_job((1, 2), stopping=ONE_TOKEN))
    for task in running[1:]:
        task.cancel()
    assert isinstance((await later)[0], Started)


async def test_a_deadline_wakes_a_thread_that_has_nothing_else_to_do(
    make, scripted, make_job, regex
) -> None:
    may_answer = threading.Event()

    class Stuck(LocalRetriever):
        def search(self, requests):
            may_answer.wait(600)
            return super().search(requests)

    backend = await make(scripted({"<regex>": "<search> bab </search> <eos>"}), Stuck())
    deadline_ns = time.monotonic_ns() + 200_000_000
    job = make_job("bab <regex>", retrieval=regex, deadline_ns=deadline_ns)
    last = (await collect(backend, job))[-1]
    may_answer.set()
    assert last.reason is FinishReason.DEADLINE


async def test_an_engine_that_dies_fails_everyone_and_takes_nobody_in(
    make, lstm, make_job, caplog
) -> None:
    backend = await make(BrokenModel(lstm.config), num_slots=3)
    running = [await begin(backend, make_job((1, 2, 3), stopping=ENDLESS)) for _ in range(4)]
    poison = await begin(backend, make_job((666,)))
    for task in running[:2]:
        task.cancel()
    ends = await asyncio.gather(*running[2:], poison, return_exceptions=True)
    assert all(isinstance(end, UnavailableError) for end in ends)
    assert "ArithmeticError('666')" in str(ends[0])
    await backend.wait_failed()
    with pytest.raises(UnavailableError, match="the engine died"):
        await collect(backend, make_job((1,)))
    assert "the engine died" in caplog.text


async def test_closing_fails_what_is_running(make, lstm, make_job) -> None:
    backend = await make(lstm)
    running = await begin(backend, make_job((1,), stopping=ENDLESS))
    await backend.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        await running
    with pytest.raises(UnavailableError):
        await collect(backend, make_job((1,)))


async def test_warming_up_leaves_nothing_behind(make, lstm, make_job) -> None:
    expected = None
    for num_slots in (1, 4):
        backend = await make(lstm, num_slots=num_slots)
        job = make_job((1, 2, 3), stopping=Stopping(max_new_tokens=20, ignore_eos=True))
        events = await collect(backend, job)
        tokens = [t for event in events if isinstance(event, Delta) for t in event.token_ids]
        assert expected is None or tokens == expected
        expected = tokens
    assert torch.is_inference_mode_enabled() is False
