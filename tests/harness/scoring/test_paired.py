import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.paired import Paired, mcnemar_exact, score_statistic, tango_interval

counts = st.integers(0, 30)
small = st.integers(0, 6)


@pytest.mark.parametrize("num_discordant", range(11))
def test_mcnemar_counts_the_coin_tosses_that_are_as_uneven(num_discordant: int) -> None:
    tosses = [sum(toss) for toss in itertools.product((0, 1), repeat=num_discordant)]
    for b in range(num_discordant + 1):
        c = num_discordant - b
        as_uneven = [heads for heads in tosses if abs(2 * heads - num_discordant) >= abs(b - c)]
        assert mcnemar_exact(b, c) == len(as_uneven) / len(tosses)


def test_mcnemar_agrees_with_a_published_value() -> None:
    # Binomial tail: 2 * (1 + 10 + 45) / 2^10.
    assert mcnemar_exact(2, 8) == 0.109375
    assert mcnemar_exact(0, 0) == 1.0


@given(counts, counts)
def test_mcnemar_knows_no_order(b: int, c: int) -> None:
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)
    assert 0 < mcnemar_exact(b, c) <= 1


def test_mcnemar_of_very_many_pairs_is_exact_and_quick() -> None:
    began = time.perf_counter()
    p = mcnemar_exact(19_700, 20_300)
    assert time.perf_counter() - began < 5
    assert p == pytest.approx(math.erfc(599 / math.sqrt(40_000) / math.sqrt(2)), rel=0.01)


def most_likely_q(b: int, c: int, n: int, difference: float) -> float:
    """By search over q = P(only second): P(only first) is q + difference."""

    def log_likelihood(q: float) -> float:
        cells = ((b, q + difference), (c, q), (n - b - c, 1 - 2 * q - difference))
        if any(rate < 0 for _, rate in cells):
            return -math.inf
        return sum(k * math.log(rate) if rate else (-math.inf if k else 0) for k, rate in cells)

    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(200):
        third = (high - low) / 3
        left, right = low + third, high - third
        if log_likelihood(left) < log_likelihood(right):
            low = left
        else:
            high = right
    return (low + high) / 2


@given(small, small, small, st.integers(-19, 19))
def test_the_statistic_uses_the_most_likely_rates(
    b: int, c: int, rest: int, twentieths: int
) -> None:
    n, difference = b + c + rest + 1, twentieths / 20
    q = most_likely_q(b, c, n, difference)
    variance = n * (2 * q + difference * (1 - difference))
    if variance > 1e-4:
        expected = (b - c - n * difference) / math.sqrt(variance)
        assert score_statistic(b, c, n, difference) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(small, counts, counts, small)
def test_the_interval_is_what_the_score_test_does_not_reject(
    a: int, b: int, c: int, d: int
) -> None:
    pairs = Paired(both=a, only_first=b, only_second=c, neither=d)
    low, high = tango_interval(pairs)
    if not pairs.n:
        assert (low, high) == (-1, 1)
        return
    assert pairs.difference is not None
    assert -1 <= low <= pairs.difference <= high <= 1
    for step in range(-20, 21):
        difference = step / 20
        if low + 1e-9 < difference < high - 1e-9:
            assert abs(score_statistic(b, c, pairs.n, difference)) <= 1.96
        elif not low - 1e-9 < difference < high + 1e-9:
            assert abs(score_statistic(b, c, pairs.n, difference)) >= 1.9599


@given(small, counts, counts, small)
def test_the_interval_turns_round_with_the_sides(a: int, b: int, c: int, d: int) -> None:
    low, high = tango_interval(Paired(both=a, only_first=b, only_second=c, neither=d))
    other = tango_interval(Paired(both=a, only_first=c, only_second=b, neither=d))
    assert other == pytest.approx((-high, -low), abs=1e-9)


def test_without_discordant_pairs_the_interval_has_its_closed_form() -> None:
    # The statistic is n*d / sqrt(n*d*(1-d)) there: |d| = z^2 / (n + z^2).
    z2 = 1.959963984540054**2
    pairs = Paired(both=40, only_first=0, only_second=0, neither=10)
    expected = z2 / (50 + z2)
    assert tango_interval(pairs) == pytest.approx((-expected, expected), abs=1e-9)
