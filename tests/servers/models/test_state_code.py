"""A code of so many bits for a state: what it keeps, and that it keeps no more."""

import pytest
import torch

from harness_servers.models.state_code import StateCode, StateCodeError, share_bits


def states(num: int = 200, seed: int = 0) -> torch.Tensor:
    """Correlated entries of falling variance, around means of their own."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(40, 40, generator=generator) / torch.arange(1, 41)[:, None]
    mixing = mixing if seed == 0 else torch.randn(40, 40, generator=generator)
    return torch.randn(num, 40, generator=generator) @ mixing + torch.arange(40)


@pytest.mark.parametrize("num_bits", [8, 16, 64, 200, 320])
def test_a_code_has_exactly_so_many_bits_whatever_the_state(num_bits: int) -> None:
    fitted = StateCode.fit(states(), num_bits)
    assert int(fitted.bits_K.sum()) == num_bits
    for state in (*states(20), *states(20, seed=1) * 100, torch.full((40,), 1e30)):
        code = fitted.encode(state)
        assert bool((code >= 0).all())
        assert bool((code < 2**fitted.bits_K).all())


def test_all_that_is_decoded_is_a_function_of_the_code() -> None:
    fitted = StateCode.fit(states(), 8)
    decoded = {
        tuple(fitted.encode(one).tolist()): fitted.decode(fitted.encode(one))
        for one in states(5000)
    }
    assert len(decoded) <= 2**8
    for one in states(500):
        code = fitted.encode(one)
        assert torch.equal(fitted.decode(code), decoded[tuple(code.tolist())])


def test_more_bits_leave_a_smaller_error() -> None:
    errors = []
    for num_bits in (8, 32, 128, 320):
        fitted = StateCode.fit(states(), num_bits)
        decoded = torch.stack([fitted.decode(fitted.encode(one)) for one in states()])
        errors.append(float((decoded - states()).square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01 * errors[0]


def test_every_bit_goes_where_the_error_is_largest() -> None:
    assert share_bits([1.0, 0.5, 0.0], 1) == [1, 0, 0]
    assert share_bits([1.0, 0.5, 0.0], 2) == [1, 1, 0]
    assert share_bits([100.0, 1.0, 0.1], 4) == [4, 0, 0]
    assert share_bits([1.0, 1.0], 16) == [8, 8]


def test_bits_that_no_direction_has_use_for_are_refused_by_number() -> None:
    with pytest.raises(StateCodeError, match=r"^1024 bits are more than a code for 2 different"):
        StateCode.fit(states(3), 1024)
    with pytest.raises(StateCodeError, match="0 different directions of 2 states"):
        StateCode.fit(torch.ones(2, 40), 8)
