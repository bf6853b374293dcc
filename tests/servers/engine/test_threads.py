"""Threads share a step's rows: they change nothing, and how many there are can be told."""

import os

import pytest
import torch

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.pool import StatePool
from harness_servers.engine.row_threads import RowThreads, Threads, num_cores
from harness_servers.engine.threads import choose_threads

CLOSE = {"atol": 1e-4, "rtol": 1e-4}
NUM_ROWS = 24
# Uneven: long rows cannot be divided.
LENGTHS = [1 + (37 * row) % 41 for row in range(NUM_ROWS - 1)] + [300]


def greedy(model, *, num_steps: int = 12) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
    """What every row goes on with after a prompt of its own, and the state behind it."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, 800, (NUM_ROWS, max(LENGTHS)), generator=generator)
    slots = torch.arange(NUM_ROWS).flip(0)
    state = model.init_state(NUM_ROWS)
    logits = model.prefill(tokens, torch.tensor(LENGTHS), state, slots)
    written = []
    for _ in range(num_steps):
        following = logits.argmax(-1)
        written.append(following.tolist())
        logits = model.decode(following, state, slots)
    return written, state


@pytest.mark.parametrize("count", [2, 3])
def test_threads_change_no_token(model, count: int) -> None:
    shared = RowThreads(model, Threads(decode=count, prefill=count))
    alone, state = greedy(model)
    written, state_shared = greedy(shared)
    shared.close()
    assert written == alone
    for name, tensor in state.items():
        torch.testing.assert_close(state_shared[name], tensor, **CLOSE)


@pytest.mark.parametrize("lengths", [LENGTHS, [5], [200, 1], [1] * 130])
def test_all_that_threads_read_is_in_the_order_of_the_rows(model, lengths: list[int]) -> None:
    shared = RowThreads(model, Threads(prefill=2))
    tokens = torch.randint(0, 800, (len(lengths), max(lengths)))
    arguments = tokens, torch.tensor(lengths)
    slots = torch.arange(len(lengths))
    logits = shared.read_all(*arguments, shared.init_state(len(lengths)), slots)
    expected = model.read_all(*arguments, model.init_state(len(lengths)), slots)
    shared.close()
    torch.testing.assert_close(logits, expected, **CLOSE)


class FailsOnRows:
    """Fails for rows of one of the shares."""

    def __init__(self, model, bad_slot: int) -> None:
        self.model, self.bad_slot = model, bad_slot

    def __getattr__(self, name: str):
        return getattr(self.model, name)

    def decode(self, tokens, state, slots):
        if self.bad_slot in slots:
            raise ValueError(f"slot {self.bad_slot}")
        return self.model.decode(tokens, state, slots)


@pytest.mark.parametrize("bad_slot", [0, 15])
def test_an_error_on_any_thread_is_the_callers(lstm, bad_slot: int) -> None:
    shared = RowThreads(FailsOnRows(lstm, bad_slot), Threads(decode=2))
    state = shared.init_state(16)
    with pytest.raises(ValueError, match=f"slot {bad_slot}"):
        shared.decode(torch.arange(16), state, torch.arange(16))
    shared.close()


def test_a_number_that_is_told_is_taken(lstm) -> None:
    pool = StatePool(lstm, 4)
    before = pool.snapshot(0)
    assert choose_threads(lstm, pool, 4, told=3) == Threads(decode=3, prefill=3)
    assert choose_threads(lstm, pool, 4, at_most=1) == Threads()
    assert all(torch.equal(pool.state[name][0], before[name]) for name in before)


def test_what_is_measured_is_within_its_bounds_and_leaves_empty_slots(model) -> None:
    pool = StatePool(model, EngineOptions().num_slots)
    capacity = {name: tensor.shape for name, tensor in pool.state.items()}
    chosen = choose_threads(model, pool, EngineOptions().num_slots, at_most=3)
    assert {chosen.decode, chosen.prefill} <= {1, 2, 3}
    fresh = model.init_state(EngineOptions().num_slots)
    assert {name: tensor.shape for name, tensor in pool.state.items()} == capacity
    assert all(torch.equal(pool.state[name], fresh[name]) for name in fresh)


def test_cores_are_those_that_this_process_may_use() -> None:
    assert 1 <= num_cores() <= (os.cpu_count() or 1)
