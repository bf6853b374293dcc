"""An interval that holds however often it was looked at: a run may stop where it is narrow enough.

A fixed-n interval (Wilson's) does not: whoever looks after every sample and stops once it is as
wished finds the true rate outside of it far more often than one time in twenty.
"""

import math
from typing import Final

_LOG_1_OVER_ALPHA: Final = math.log(1 / 0.05)
# Of the mixture: how many samples it is worth. Near the narrowest for some hundreds to some
# thousands of samples; it is no option, since it must not be chosen after the samples.
_WEIGHT: Final = 100.0
_NUM_HALVINGS: Final = 40


def sequential_interval(successes: float, n: float) -> tuple[float, float]:
    """95% confidence sequence of a mean: so probably it holds the mean at every n at once.

    Robbins (1970), "Statistical methods related to the law of the iterated logarithm"; Howard,
    Ramdas, McAuliffe and Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic confidence
    sequences", Annals of Statistics 49(2), the two-sided beta-binomial mixture. For each mean p the
    product of (q/p)^x ((1-q)/(1-p))^(1-x) over the samples x, averaged over q ~ Beta(p w, (1-p) w),
    is a martingale that begins at 1: it ever reaches 1/0.05 with probability 0.05 at most (Ville).
    The interval holds the p where it is below. Of any x in [0, 1] it is a supermartingale, since
    a^x b^(1-x) <= a x + b (1-x), so `successes` may be a sum of shares. Only sums are needed: the
    order of the samples is of no matter.

    (0, 1) where nothing was counted. Raises ValueError where `successes` is not in 0..n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    if n == 0:
        return 0.0, 1.0
    return _lower(successes, n), 1 - _lower(n - successes, n)


def least_samples(width: float) -> int:
    """So many samples at least, all right or all wrong, before an interval is that narrow."""
    few, many = 0, 1
    while sequential_interval(0, many)[1] > width:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if sequential_interval(0, middle)[1] <= width else (middle, many)
    return many


def _lower(successes: float, n: float) -> float:
    """By bisection: the martingale falls, from infinity at 0, up to the rate that was seen."""
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / n
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        if _log_martingale(successes, n, middle) >= _LOG_1_OVER_ALPHA:
            low = middle
        else:
            high = middle
    return low


def _log_martingale(successes: float, n: float, mean: float) -> float:
    if not 0 < mean < 1:
        return math.inf
    right, wrong = mean * _WEIGHT, (1 - mean) * _WEIGHT
    failures = n - successes
    return (
        _log_beta(right + successes, wrong + failures)
        - _log_beta(right, wrong)
        - successes * math.log(mean)
        - failures * math.log1p(-mean)
    )


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
