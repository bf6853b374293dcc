"""Every family's fast paths against its equations."""

import importlib
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from harness_servers.engine.pool import StatePool
from harness_servers.models import model_class
from harness_servers.models.cached_attention import find_runs
from harness_servers.models.protocol import PromptModel, SequenceModel, State

from ..conftest import make_random
from .architectures import VARIANTS

TOKENS = [(7 * i * i + 3 * i + 5) % 800 for i in range(40)]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
# Of a state: what reading more does not change, but the end of a prompt.
CHANGED_BY_ENDS = {"is_over"}


@pytest.fixture(scope="session")
def reference(model) -> Callable[[list[int]], Tensor]:
    """The equations of a model; they are slow, and many tests ask the same."""
    equations = equations_of(model)
    known: dict[tuple[int, ...], Tensor] = {}

    def ask(tokens: list[int]) -> Tensor:
        key = tuple(tokens)
        if key not in known:
            known[key] = equations(tokens)
        return known[key]

    return ask


@pytest.fixture(scope="session")
def decoded(model) -> tuple[Tensor, State]:
    """What it says token by token, and its state after the last."""
    return decode_all(model, TOKENS)


def equations_of(model: SequenceModel) -> Callable[[list[int]], Tensor]:
    """They stand beside an architecture, in a module of its name."""
    equations = importlib.import_module(f"{type(model).__module__}_reference")
    return partial(equations.reference_logits, model)


def decode_all(model: SequenceModel, tokens: list[int]) -> tuple[Tensor, State]:
    state, slot = model.init_state(1), torch.tensor([0])
    rows = [model.decode(torch.tensor([token]), state, slot)[0] for token in tokens]
    return torch.stack(rows), state


def read(model, state, slots: list[int], rows: list[list[int]]) -> Tensor:
    length = max(len(row) for row in rows)
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return model.prefill(tokens, lengths, state, torch.tensor(slots))


def check_training(model, reference: Callable[[list[int]], Tensor]) -> None:
    tokens = torch.tensor([TOKENS, TOKENS[::-1]])
    is_wanted = torch.zeros_like(tokens, dtype=torch.bool)
    is_wanted[0, ::3] = is_wanted[1, 5:9] = True
    with torch.no_grad():
        logits = model(tokens, is_wanted)
    expected = torch.cat([reference(TOKENS)[::3], reference(TOKENS[::-1])[5:9]])
    torch.testing.assert_close(logits, expected, **CLOSE)


def check_chunks(model, expected: Tensor, last_state: State, chunks: list[int]) -> None:
    state = model.init_state(1)
    start = 0
    for length in chunks:
        logits = read(model, state, [0], [TOKENS[start : start + length]])
        start += length
        torch.testing.assert_close(logits[0], expected[start - 1], **CLOSE)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, last_state[name], atol=1e-5, rtol=1e-4)


def test_decode_says_what_the_equations_say(decoded, reference) -> None:
    torch.testing.assert_close(decoded[0], reference(TOKENS), **CLOSE)


def test_training_says_what_the_equations_say(model, reference) -> None:
    if isinstance(model, PromptModel):
        pytest.skip("where it is trained its prompts end: see test_remamba2.py")
    check_training(model, reference)


@pytest.mark.parametrize("chunks", [[40], [1, 1, 1, 37], [13, 27], [39, 1], [5, 30, 5]])
def test_prefill_in_any_chunks_says_what_the_equations_say(
    model, reference, decoded, chunks: list[int]
) -> None:
    check_chunks(model, reference(TOKENS), decoded[1], chunks)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_says_what_the_equations_say(variant: str, tokenizer) -> None:
    kind = model_class(VARIANTS[variant]["model_type"])
    model = make_random(kind, VARIANTS[variant], tokenizer.get_vocab_size())
    reference = equations_of(model)
    expected, (decoded, state) = reference(TOKENS), decode_all(model, TOKENS)
    torch.testing.assert_close(decoded, expected, **CLOSE)
    check_chunks(model, expected, state, [13, 27])
    check_training(model, reference)


def test_what_stands_behind_a_rows_length_changes_nothing(model, reference) -> None:
    states = []
    for padding in (0, 9):
        state = model.init_state(2)
        rows = torch.tensor([TOKENS, TOKENS[:15] + [padding] * 25])
        logits = model.prefill(rows, torch.tensor([40, 15]), state, torch.tensor([0, 1]))
        states.append((logits, state))
    (logits_a, state_a), (logits_b, state_b) = states
    assert torch.equal(logits_a, logits_b)
    assert all(torch.equal(state_a[name], state_b[name]) for name in state_a)
    torch.testing.assert_close(logits_a[1], reference(TOKENS[:15])[-1], **CLOSE)


def test_slots_that_are_not_named_stay_as_they_are(model) -> None:
    state = model.init_state(4)
    read(model, state, [0, 1, 2, 3], [TOKENS[:9]] * 4)
    before = {name: tensor.clone() for name, tensor in state.items()}
    read(model, state, [2, 0], [[1, 2], [3]])
    model.decode(torch.tensor([3, 4]), state, torch.tensor([0, 2]))
    for name, tensor in state.items():
        assert torch.equal(tensor[[1, 3]], before[name][[1, 3]])
        if name in CHANGED_BY_ENDS or name.startswith("has_begun."):  # no second token does
            continue
        assert not torch.equal(tensor[0], before[name][0])
        assert not torch.equal(tensor[2], before[name][2])


@pytest.mark.parametrize("slots", [[0, 1, 2, 3, 4], [2, 3, 5, 6, 7], [7, 1, 4, 0, 2]])
def test_where_in_the_pool_its_slots_lie_does_not_change_a_decode(model, slots: list[int]) -> None:
    rows = [TOKENS[i : 3 * i + 1] for i in range(5)]
    state = model.init_state(8)
    read(model, state, slots, rows)
    for step in range(3):
        tokens = [10 * step + i for i in range(5)]
        logits = model.decode(torch.tensor(tokens), state, torch.tensor(slots))
        for row, token in zip(rows, tokens, strict=True):
            row.append(token)
        slow = model.init_state(8)
        torch.testing.assert_close(logits, read(model, slow, slots, rows), **CLOSE)
        for name, tensor in state.items():
            torch.testing.assert_close(tensor, slow[name], **CLOSE)


def test_runs_are_the_adjacent_slots_of_a_batch() -> None:
    assert find_runs(torch.tensor([3])) == [(slice(0, 1), slice(3, 4))]
    assert find_runs(torch.tensor([0, 1, 2])) == [(slice(0, 3), slice(0, 3))]
    assert find_runs(torch.tensor([0, 1, 4, 5, 2])) == [
        (slice(0, 2), slice(0, 2)),
        (slice(2, 4), slice(4, 6)),
        (slice(4, 5), slice(2, 3)),
    ]


def test_state_bytes_are_what_a_slot_takes(model) -> None:
    few, many = StatePool(model, 1), StatePool(model, 3)
    rows = [tensor.shape[1] for name, tensor in few.state.items() if name.startswith("cache.")]
    grown = rows[0] * model.state_bytes_per_token() if rows else 0
    assert many.num_bytes() - few.num_bytes() == 2 * (model.state_bytes() + grown)


def test_a_snapshot_restores_exactly_into_any_slot(model) -> None:
    pool = StatePool(model, 3)
    read(model, pool.state, [0], [TOKENS])
    snapshot = pool.snapshot(0)
    read(model, pool.state, [0, 2], [TOKENS[:3], TOKENS[:30] + TOKENS])
    pool.restore(2, snapshot)
    fresh = StatePool(model, 1)
    read(model, fresh.state, [0], [TOKENS])
    for name, tensor in pool.state.items():
        assert torch.equal(tensor[2], fresh.state[name][0])


def test_a_reset_slot_is_like_new(model) -> None:
    pool = StatePool(model, 3)
    read(model, pool.state, [0, 1, 2], [TOKENS, TOKENS[:7], TOKENS[3:]])
    kept = pool.snapshot(1)
    pool.reset([0, 2])
    fresh = StatePool(model, 3)
    for name, tensor in pool.state.items():
        assert torch.equal(tensor[[0, 2]], fresh.state[name][[0, 2]])
    assert all(torch.equal(saved, kept[name]) for name, saved in pool.snapshot(1).items())
