"""The engine on its own thread: waking, refusing, failing, closing."""

import queue
import time

import pytest
import torch
from harnessapi.values import FinishReason

from harness_retrieval.local import LocalRetriever
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.worker import EngineWorker
from harness_servers.errors import QueueFullError, UnavailableError
from harness_servers.generation import Delta, Finished, Retrieval, Sampling, Stopping
from harness_servers.models.lstm import LstmModel
from harness_servers.sequences.job import Job


class Harness:
    def __init__(self, model, codec, **options) -> None:
        self.deliveries: queue.SimpleQueue = queue.SimpleQueue()
        self.failures: list[Exception] = []
        self.worker = EngineWorker(
            model=model,
            codec=codec,
            retriever=LocalRetriever(),
            options=EngineOptions(**options),
            deliver=self.deliveries.put,
            on_failure=self.failures.append,
        )
        self.worker.start()

    def submit(self, prompt=(1, 2, 3), *, retrieval: Retrieval | None = None, **stopping) -> int:
        now_ns = time.monotonic_ns()
        job = Job(
            prompt_ids=tuple(prompt),
            sampling=Sampling(),
            stopping=Stopping(**stopping),
            retrieval=retrieval,
            arrived_ns=now_ns,
        )
        return self.worker.submit(job)

    def wait(self, *sequence_ids: int) -> dict[int, list]:
        """Everything that came for these sequences, once all have had their last delivery."""
        got: dict[int, list] = {sequence_id: [] for sequence_id in sequence_ids}
        open_ids = set(sequence_ids)
        while open_ids:
            for delivery in self.deliveries.get(timeout=20):
                got.setdefault(delivery.sequence_id, []).append(delivery)
                if delivery.is_last:
                    open_ids.discard(delivery.sequence_id)
        return got


@pytest.fixture
def harness(lstm, codec):
    harness = Harness(lstm, codec, num_slots=2, max_queued=1)
    yield harness
    harness.worker.close()


class BrokenModel(LstmModel):
    """Dies when it reads token 666."""

    def decode(self, tokens_B, state, slots_B):
        if (tokens_B == 666).any():
            raise ArithmeticError("666")
        return super().decode(tokens_B, state, slots_B)


def test_a_request_is_answered_at_once_and_the_thread_then_rests(harness) -> None:
    for _ in range(3):
        began = time.perf_counter()
        got = harness.wait(harness.submit(max_new_tokens=1))
        elapsed = time.perf_counter() - began
        time.sleep(0.05)
    assert elapsed < 0.25
    assert any(isinstance(e, Delta) for delivery in got.popitem()[1] for e in delivery.events)
    cpu = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - cpu < 0.1


def test_past_the_queues_bound_requests_are_refused_until_one_ends(harness) -> None:
    running = [harness.submit(max_new_tokens=10**6, ignore_eos=True) for _ in range(3)]
    with pytest.raises(QueueFullError, match="the queue holds 3"):
        harness.submit()
    harness.worker.cancel(running[0])
    harness.wait(running[0])
    later = harness.submit(max_new_tokens=1)
    for sequence_id in running[1:]:
        harness.worker.cancel(sequence_id)
    harness.wait(later)


def test_a_deadline_wakes_a_thread_that_has_nothing_else_to_do(scripted, codec, regex) -> None:
    class Stuck(LocalRetriever):
        def search(self, requests):
            time.sleep(1)
            return super().search(requests)

    deliveries: queue.SimpleQueue = queue.SimpleQueue()
    worker = EngineWorker(
        model=scripted({"<regex>": "<search> bab </search> <eos>"}),
        codec=codec,
        retriever=Stuck(),
        options=EngineOptions(num_slots=1),
        deliver=deliveries.put,
        on_failure=lambda _error: None,
    )
    worker.start()
    now_ns = time.monotonic_ns()
    job = Job(
        prompt_ids=codec.encode("bab <regex>").ids,
        sampling=Sampling(),
        stopping=Stopping(),
        retrieval=regex,
        arrived_ns=now_ns,
        deadline_ns=now_ns + 200_000_000,
    )
    worker.submit(job)
    last = None
    while not isinstance(last, Finished):
        last = deliveries.get(timeout=0.9)[-1].events[-1]
    assert last.reason is FinishReason.DEADLINE
    assert last.retrieval_ns > 0
    worker.close()


def test_an_engine_that_dies_fails_everyone_and_takes_nobody_in(lstm, codec, caplog) -> None:
    model = BrokenModel(lstm.config)
    harness = Harness(model, codec, num_slots=3)
    running = [harness.submit(max_new_tokens=10**6, ignore_eos=True) for _ in range(4)]
    poison = harness.submit(prompt=(666,))
    harness.worker.cancel(running[0])
    harness.worker.cancel(running[1])
    got = harness.wait(*running[2:], poison)
    errors = [got[sequence_id][-1].error for sequence_id in [*running[2:], poison]]
    assert all(isinstance(error, UnavailableError) for error in errors)
    assert "ArithmeticError('666')" in str(errors[0])
    assert isinstance(harness.failures[0], ArithmeticError)
    with pytest.raises(UnavailableError, match="the engine died"):
        harness.submit()
    assert "the engine died" in caplog.text
    harness.worker.close()


def test_closing_fails_what_is_running(lstm, codec) -> None:
    harness = Harness(lstm, codec)
    running = harness.submit(max_new_tokens=10**6, ignore_eos=True)
    harness.worker.close()
    assert "shutting down" in str(harness.wait(running)[running][-1].error)
    with pytest.raises(UnavailableError):
        harness.submit()


def test_warming_up_leaves_nothing_behind(lstm, codec) -> None:
    expected = None
    for num_slots in (1, 4):
        harness = Harness(lstm, codec, num_slots=num_slots)
        sequence_id = harness.submit(max_new_tokens=20, ignore_eos=True)
        got = harness.wait(sequence_id)[sequence_id]
        tokens = [
            token
            for delivery in got
            for event in delivery.events
            if isinstance(event, Delta)
            for token in event.token_ids
        ]
        harness.worker.close()
        assert expected is None or tokens == expected
        expected = tokens
    assert torch.is_inference_mode_enabled() is False
