import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.bound import SPLIT_BITS, bits_needed, rate_bits, recall_bound

words = st.integers(2, 300)


def test_the_cost_of_a_value_at_known_recalls() -> None:
    assert rate_bits(1.0, 128) == 7.0
    assert rate_bits(1 / 128, 128) == 0.0
    # A coin named rightly nine times in ten: 1 - h(0.1).
    assert rate_bits(0.9, 2) == pytest.approx(1 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert rate_bits(0.0, 128) == 0.0


def test_enough_bits_for_every_value_bound_nothing() -> None:
    assert recall_bound(64 * 7 - SPLIT_BITS, 64, 128) == 1.0
    assert recall_bound(64 * 7 - SPLIT_BITS - 1, 64, 128) < 1.0


def test_half_of_the_bits_leave_a_known_share() -> None:
    # 32 values of 128 words from half of their 224 bits: 7 - h(p) - (1 - p) log2(127) = 3.5.
    bound = recall_bound(112 - SPLIT_BITS, 32, 128)
    assert rate_bits(bound, 128) == pytest.approx(3.5)
    assert bound == pytest.approx(0.6347, abs=5e-5)


@given(words, st.integers(1, 100), st.floats(0, 1))
def test_bits_and_recall_are_inverses(num_words: int, n: int, recall: float) -> None:
    bits = bits_needed(recall, n, num_words)
    if bits > 0.01:
        assert recall_bound(bits, n, num_words) == pytest.approx(recall, abs=1e-6)


@given(words, st.floats(0, 1), st.floats(0, 1))
def test_more_recall_costs_more_and_the_cost_is_convex(num_words: int, a: float, b: float) -> None:
    low, high = sorted((rate_bits(a, num_words), rate_bits(b, num_words)))
    assert (rate_bits(max(a, b), num_words), rate_bits(min(a, b), num_words)) == (high, low)
    assert rate_bits((a + b) / 2, num_words) <= (low + high) / 2 + 1e-9


@pytest.mark.parametrize(
    ("num_values", "num_words", "num_states"), [(2, 2, 2), (3, 2, 2), (2, 3, 2)]
)
def test_no_encoder_of_all_possible_ones_beats_the_bound(
    num_values: int, num_words: int, num_states: int
) -> None:
    contexts = list(itertools.product(range(num_words), repeat=num_values))
    best = max(
        best_recall(contexts, encoder, num_values, num_words)
        for encoder in itertools.product(range(num_states), repeat=len(contexts))
    )
    assert num_values * rate_bits(best, num_words) <= math.log2(num_states) + 1e-9
    # And the bound is not idle: the best is well above the guess.
    assert best > 1 / num_words + 0.1


def best_recall(
    contexts: list[tuple[int, ...]], encoder: tuple[int, ...], num_values: int, num_words: int
) -> float:
    """For each state and position, the word that is right most often."""
    right = 0
    for state in set(encoder):
        members = [c for c, s in zip(contexts, encoder, strict=True) if s == state]
        for position in range(num_values):
            named = [context[position] for context in members]
            right += max(named.count(word) for word in range(num_words))
    return right / (len(contexts) * num_values)


@pytest.mark.parametrize("recall", [-0.1, 1.1, math.nan])
def test_a_recall_that_is_no_probability_is_refused(recall: float) -> None:
    with pytest.raises(ValueError, match="recall"):
        rate_bits(recall, 8)
