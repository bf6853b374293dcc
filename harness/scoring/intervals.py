"""Intervals of a proportion: Wilson's score interval, and the one that inverts the mid-p test."""

import math
from typing import Final

# Two-sided 95%.
Z_95: Final = 1.959963984540054
_TAIL: Final = 0.025
_NEGLIGIBLE: Final = 1e-18


def wilson_interval(successes: float, n: int, z: float = Z_95) -> tuple[float, float]:
    """Bounds of the true rate behind `successes` of `n`; (0, 1) where nothing was counted.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference":
    centre (p + z^2/2n) / (1 + z^2/n), half width z / (1 + z^2/n) * sqrt(p(1-p)/n + z^2/4n^2).
    Raises ValueError where `successes` is not in 0..n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return 0.0, 1.0
    rate = successes / n
    scale = 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half_width = z / scale * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # At the ends the bound is exact; rounding must not push it past them.
    low = 0.0 if successes == 0 else max(0.0, centre - half_width)
    high = 1.0 if successes == n else min(1.0, centre + half_width)
    return low, high


def mid_p_interval(successes: int, n: int) -> tuple[float, float]:
    """95% bounds of the true rate: those whose binomial mid-p tails are at least 2.5% each.

    Lancaster (1961), "Significance tests in discrete distributions"; Berry and Armitage (1995),
    "Mid-P confidence intervals: a brief review", The Statistician 44. (0, 1) where nothing was
    counted. Raises ValueError where `successes` is not in 0..n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    return _lower_mid_p(successes, n), 1 - _lower_mid_p(n - successes, n)


def _lower_mid_p(successes: int, n: int) -> float:
    """By bisection: the tail grows with the rate, and is about a half at the rate that was seen."""
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / n
    for _ in range(60):
        middle = (low + high) / 2
        if _upper_mid_tail(successes, n, middle) < _TAIL:
            low = middle
        else:
            high = middle
    return high


def _upper_mid_tail(k: int, n: int, rate: float) -> float:
    """P(X > k) + P(X = k) / 2 for X ~ Bin(n, rate), where k is no less than the mean n * rate."""
    log_choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    term = math.exp(log_choices + k * math.log(rate) + (n - k) * math.log1p(-rate))
    total = term / 2
    # From the mean on every term is smaller than the one before.
    while k < n and term > total * _NEGLIGIBLE:
        term *= (n - k) / (k + 1) * rate / (1 - rate)
        total += term
        k += 1
    return total
