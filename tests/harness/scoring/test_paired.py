import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.intervals import mid_p_interval
from harness.scoring.paired import Paired, difference_interval, mcnemar_mid_p

counts = st.integers(0, 30)
small = st.integers(0, 6)


def paired(b: int, c: int, n: int) -> Paired:
    return Paired(both=n - b - c, only_first=b, only_second=c, neither=0)


@pytest.mark.parametrize("num_discordant", range(11))
def test_mcnemar_counts_the_coin_tosses_that_are_more_uneven_and_half_of_the_same(
    num_discordant: int,
) -> None:
    tosses = [sum(toss) for toss in itertools.product((0, 1), repeat=num_discordant)]
    for b in range(num_discordant + 1):
        few = min(b, num_discordant - b)
        tail = sum(heads < few for heads in tosses) + tosses.count(few) / 2
        assert mcnemar_mid_p(b, num_discordant - b) == 2 * tail / len(tosses)


def test_mcnemar_agrees_with_a_published_value() -> None:
    # Fagerland, Lydersen and Laake (2013), table 1: 1 and 7 of 21 children.
    assert mcnemar_mid_p(1, 7) == 0.0390625
    assert mcnemar_mid_p(0, 0) == 1.0


@given(counts, counts)
def test_mcnemar_knows_no_order(b: int, c: int) -> None:
    assert mcnemar_mid_p(b, c) == mcnemar_mid_p(c, b)
    assert 0 < mcnemar_mid_p(b, c) <= 1


def test_of_very_many_pairs_both_are_the_normal_ones() -> None:
    b, c, n = 19_700, 20_300, 100_000
    expected = math.erfc(600 / math.sqrt(b + c) / math.sqrt(2))
    assert mcnemar_mid_p(b, c) == pytest.approx(expected, rel=0.01)
    low, high = difference_interval(paired(b, c, n))
    assert low < -0.006 < high < 0
    half_width = 1.96 * math.sqrt(b + c) / n
    assert (high - low) / 2 == pytest.approx(half_width, rel=0.02)


def test_the_interval_of_a_rate_agrees_with_closed_forms() -> None:
    # Of none of n the whole tail is (1 - p)^n / 2.
    assert mid_p_interval(0, 10) == pytest.approx((0, 1 - 0.05 ** (1 / 10)))
    assert mid_p_interval(10, 10) == pytest.approx((0.05 ** (1 / 10), 1))
    assert mid_p_interval(0, 0) == (0, 1)


@given(counts, counts)
def test_the_interval_of_a_rate_ends_where_a_tail_is_a_fortieth(a: int, b: int) -> None:
    n = a + b
    low, high = mid_p_interval(a, n)
    assert low <= (a / n if n else 0.5) <= high

    def tail(rate: float) -> float:
        terms = [math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(a, n + 1)]
        return sum(terms) - terms[0] / 2

    if a:
        assert tail(low) == pytest.approx(0.025)
    if b:
        assert 1 - tail(high) == pytest.approx(0.025)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
def test_an_interval_of_an_impossible_count_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=str(n)):
        mid_p_interval(successes, n)


def test_nothing_is_outside_the_interval_exactly_where_p_is_below_a_twentieth() -> None:
    for num_discordant in range(31):
        for b, rest in itertools.product(range(num_discordant + 1), (0, 1, 7, 200)):
            c = num_discordant - b
            low, high = difference_interval(paired(b, c, num_discordant + rest))
            assert (mcnemar_mid_p(b, c) < 0.05) == (not low <= 0 <= high), (b, c, rest)


@given(small, counts, counts, small)
def test_the_interval_holds_the_difference_and_turns_round_with_the_sides(
    a: int, b: int, c: int, d: int
) -> None:
    pairs = Paired(both=a, only_first=b, only_second=c, neither=d)
    low, high = difference_interval(pairs)
    if not pairs.n:
        assert (low, high) == (-1, 1)
        return
    assert pairs.difference is not None
    assert -1 <= low <= pairs.difference <= high <= 1
    other = difference_interval(Paired(both=a, only_first=c, only_second=b, neither=d))
    assert other == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize("n", [10, 20])
def test_the_interval_holds_the_true_difference_as_often_as_it_says(n: int) -> None:
    """All tables of n pairs: 0.948 is the least that was found of n up to 80 (design 0016)."""
    tables = [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]
    intervals = [difference_interval(paired(b, c, n)) for b, c in tables]
    twentieths = range(1, 19)
    for first, second in ((i / 20, j / 20) for i in twentieths for j in twentieths if i + j < 20):
        covered = sum(
            math.comb(n, b)
            * math.comb(n - b, c)
            * first**b
            * second**c
            * (1 - first - second) ** (n - b - c)
            for (b, c), (low, high) in zip(tables, intervals, strict=True)
            if low <= first - second <= high
        )
        assert covered >= 0.947, (first, second)
