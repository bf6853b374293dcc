"""The interval that holds at every look: against a fixed-n one, and where it may not fail."""

import math
import random
from collections.abc import Callable

import pytest

from harness.scoring.intervals import wilson_interval
from harness.scoring.sequential import least_samples, sequential_interval

NUM_RUNS = 200
NUM_SAMPLES = 1000
LOOKS = sorted({math.ceil(1.3**power) for power in range(27)} | {NUM_SAMPLES})
Draw = Callable[[random.Random], list[float]]
Interval = Callable[[float, int], tuple[float, float]]


def flips(rate: float) -> Draw:
    return lambda generator: [float(generator.random() < rate) for _ in range(NUM_SAMPLES)]


def shares(generator: random.Random) -> list[float]:
    """Of five repeats each: what a sample has is a share."""
    found = []
    for _ in range(NUM_SAMPLES):
        rate = generator.choice([0.1, 0.9])
        found.append(sum(generator.random() < rate for _ in range(5)) / 5)
    return found


def pairs(generator: random.Random) -> list[float]:
    """Of every two samples one is of a kind that is mostly right, and one of the other."""
    found: list[float] = []
    for _ in range(NUM_SAMPLES // 2):
        kinds = generator.sample([0.95, 0.25], 2)
        found += [float(generator.random() < rate) for rate in kinds]
    return found


def num_ever_outside(draw: Draw, mean: float, interval: Interval) -> int:
    """Of seeded runs, those in which some look finds the true mean outside."""
    outside = 0
    for seed in range(NUM_RUNS):
        values = draw(random.Random(seed))
        bounds = (interval(math.fsum(values[:n]), n) for n in LOOKS if n <= NUM_SAMPLES)
        outside += any(not low <= mean <= high for low, high in bounds)
    return outside


@pytest.mark.parametrize(
    ("draw", "mean"),
    [(flips(0.5), 0.5), (flips(0.9), 0.9), (flips(0.02), 0.02), (shares, 0.5), (pairs, 0.6)],
    ids=["even", "mostly right", "hardly ever", "shares of repeats", "balanced pairs"],
)
def test_a_sequential_interval_holds_the_mean_at_all_looks_at_once(draw: Draw, mean: float) -> None:
    assert num_ever_outside(draw, mean, sequential_interval) <= 0.05 * NUM_RUNS


def test_a_fixed_n_interval_does_not() -> None:
    assert num_ever_outside(flips(0.5), 0.5, wilson_interval) > 0.15 * NUM_RUNS


@pytest.mark.parametrize("n", [1, 7, 100, 5000])
def test_it_holds_the_rate_that_was_seen_and_between_the_ends_is_wider_than_wilsons(n: int) -> None:
    for hits in {0, 1, n // 3, n // 2, n - 1, n}:
        low, high = sequential_interval(hits, n)
        fixed = wilson_interval(hits, n)
        assert 0 <= low <= hits / n <= high <= 1
        assert high - low > fixed[1] - fixed[0] or hits in {0, 1, n - 1, n}
        mirrored = sequential_interval(n - hits, n)
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_what_lies_outside_on_a_fine_grid_is_outside_and_what_lies_inside_is_not() -> None:
    """By the definition, computed another way: the mixture as an integral."""
    hits, n, weight = 14, 20, 100.0
    low, high = sequential_interval(hits, n)
    for mean in (0.05, 0.2, low - 0.01, low + 0.01, 0.7, high - 0.01, high + 0.01, 0.99):
        a, b = mean * weight, (1 - mean) * weight
        points = [(index + 0.5) / 4000 for index in range(4000)]
        logs = [(a - 1) * math.log(q) + (b - 1) * math.log1p(-q) for q in points]
        top = max(logs)
        prior = [math.exp(value - top) for value in logs]
        ratio = [
            math.exp(hits * math.log(q / mean) + (n - hits) * math.log((1 - q) / (1 - mean)))
            for q in points
        ]
        wealth = math.fsum(x * y for x, y in zip(prior, ratio, strict=True)) / math.fsum(prior)
        assert (wealth < 20) == (low < mean < high)


def test_nothing_counted_says_nothing_and_more_than_all_is_an_error() -> None:
    assert sequential_interval(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="8 successes of 7"):
        sequential_interval(8, 7)


def test_the_fewest_samples_that_may_do_are_those_at_an_end() -> None:
    least = least_samples(0.1)
    assert sequential_interval(least, least)[0] >= 0.9
    assert sequential_interval(least - 1, least - 1)[0] < 0.9
