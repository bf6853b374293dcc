import math
import random

import pytest

from harness.scoring.paired import mcnemar_mid_p
from harness.scoring.sample_size import POWER, pairs_needed


def simulated_power(n: int, difference: float, discordant: float) -> float:
    """The share of 500 experiments of n pairs in which McNemar's test finds it."""
    draw = random.Random(f"{n} {difference} {discordant}").random
    only_first = (discordant + difference) / 2
    num_found = 0
    for _ in range(500):
        drawn = [draw() for _ in range(n)]
        b = sum(one < only_first for one in drawn)
        c = sum(only_first <= one < discordant for one in drawn)
        num_found += mcnemar_mid_p(b, c) < 0.05
    return num_found / 500


@pytest.mark.parametrize(
    ("difference", "discordant"), [(0.1, 0.2), (0.2, 0.25), (0.15, 0.5), (0.3, 0.3), (0.5, 0.6)]
)
def test_so_many_pairs_find_the_difference_four_times_in_five(
    difference: float, discordant: float
) -> None:
    n = pairs_needed(difference, discordant)
    # Of a few pairs, and where all that differ are one side's, it errs towards more pairs.
    assert POWER - 0.05 < simulated_power(n, difference, discordant) < POWER + 0.12


def test_it_agrees_with_a_worked_example() -> None:
    # Shares of 0.2 and 0.1: n = (1.959964 sqrt(.3) + 0.841621 sqrt(.3 - .01))^2 / .01 = 233.1
    assert pairs_needed(0.1, 0.3) == 234
    assert pairs_needed(-0.1, 0.3) == 234


def test_a_smaller_difference_and_more_discordant_pairs_take_more() -> None:
    assert pairs_needed(0.05, 0.2) > pairs_needed(0.1, 0.2)
    assert pairs_needed(0.1, 0.4) > pairs_needed(0.1, 0.2)


@pytest.mark.parametrize(
    ("difference", "discordant"), [(0, 0.2), (0.3, 0.2), (0.3, 1.5), (math.nan, 0.5)]
)
def test_no_difference_and_an_impossible_one_are_refused(
    difference: float, discordant: float
) -> None:
    with pytest.raises(ValueError, match=str(difference)):
        pairs_needed(difference, discordant)
