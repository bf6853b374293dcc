"""The LSTM's fast paths against its equations."""

import pytest
import torch

from servers.models.lstm import LstmModel
from servers.models.lstm_reference import reference_logits

TOKENS = [(7 * i * i + 3 * i + 5) % 800 for i in range(40)]


def decode_all(model: LstmModel, tokens: list[int], slot: int = 0, num_slots: int = 1):
    state = model.init_state(num_slots)
    rows = [model.decode(torch.tensor([token]), state, torch.tensor([slot]))[0] for token in tokens]
    return torch.stack(rows), state


def test_decode_says_what_the_equations_say(lstm: LstmModel) -> None:
    decoded, _ = decode_all(lstm, TOKENS)
    torch.testing.assert_close(decoded, reference_logits(lstm, TOKENS), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunks", [[40], [1] * 40, [13, 27], [39, 1], [5, 30, 5]])
def test_prefill_in_any_chunks_says_what_the_equations_say(
    lstm: LstmModel, chunks: list[int]
) -> None:
    expected = reference_logits(lstm, TOKENS)
    state = lstm.init_state(1)
    start = 0
    for length in chunks:
        row = torch.tensor([TOKENS[start : start + length]])
        logits = lstm.prefill(row, torch.tensor([length]), state, torch.tensor([0]))
        start += length
        torch.testing.assert_close(logits[0], expected[start - 1], atol=1e-4, rtol=1e-4)
    _, decoded_state = decode_all(lstm, TOKENS)
    for name, tensor in state.items():
        torch.testing.assert_close(tensor, decoded_state[name], atol=1e-5, rtol=1e-4)


def test_what_stands_behind_a_rows_length_changes_nothing(lstm: LstmModel) -> None:
    states = []
    for padding in (0, 9):
        state = lstm.init_state(2)
        rows = torch.tensor([TOKENS, TOKENS[:15] + [padding] * 25])
        logits = lstm.prefill(rows, torch.tensor([40, 15]), state, torch.tensor([0, 1]))
        states.append((logits, state))
    (logits_a, state_a), (logits_b, state_b) = states
    assert torch.equal(logits_a, logits_b)
    assert all(torch.equal(state_a[name], state_b[name]) for name in state_a)
    expected = reference_logits(lstm, TOKENS[:15])[-1]
    torch.testing.assert_close(logits_a[1], expected, atol=1e-4, rtol=1e-4)


def test_slots_that_are_not_named_stay_as_they_are(lstm: LstmModel) -> None:
    state = lstm.init_state(3)
    for tensor in state.values():
        tensor.fill_(0.5)
    slots = torch.tensor([2])
    lstm.prefill(torch.tensor([[1, 2]]), torch.tensor([2]), state, slots)
    lstm.decode(torch.tensor([3]), state, slots)
    for tensor in state.values():
        assert (tensor[:2] == 0.5).all()
        assert (tensor[2] != 0.5).any()


def test_state_bytes_are_what_a_slot_takes(lstm: LstmModel) -> None:
    state = lstm.init_state(3)
    assert sum(tensor.nbytes for tensor in state.values()) == 3 * lstm.state_bytes()
