"""Two completions of each of the same samples: which is better, and is it more than chance?"""

import math
from dataclasses import dataclass

from harness.scoring.intervals import Z_95


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Counts of samples: right in both, in the first alone, in the second alone, in neither."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        """All pairs."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float | None:
        """Accuracy of the first less accuracy of the second; None of no pairs."""
        return (self.only_first - self.only_second) / self.n if self.n else None


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided p: could so uneven a split of the pairs that differ come from a fair coin?

    McNemar (1947) with the exact binomial tail: twice P(X <= min(b, c)) for X ~ Bin(b + c, 1/2),
    at most 1. Whole numbers to the end, so nothing is rounded but the result.
    """
    num_discordant = only_first + only_second
    term = total = 1
    for k in range(min(only_first, only_second)):
        term = term * (num_discordant - k) // (k + 1)
        total += term
    num_outcomes: int = 2**num_discordant
    return min(1.0, 2 * total / num_outcomes)


def tango_interval(pairs: Paired, z: float = Z_95) -> tuple[float, float]:
    """Bounds of the difference in accuracy; (-1, 1) of no pairs.

    Tango (1998), "Equivalence test and confidence interval for the difference in proportions for
    the paired-sample design", Statistics in Medicine 17: all differences that the score test does
    not reject. At a difference of 0 that test is McNemar's, so interval and test agree but for the
    test being exact here.
    """
    if not pairs.n:
        return -1.0, 1.0
    b, c, n = pairs.only_first, pairs.only_second, pairs.n
    low = -_upper_bound(c, b, n, z)
    return low, _upper_bound(b, c, n, z)


def score_statistic(b: int, c: int, n: int, difference: float) -> float:
    """Tango's z: how far (b - c) / n lies above `difference`, in standard errors under it.

    The variance is taken at the most likely rates that have this difference: q, the rate of pairs
    that only the second has right, is the larger root of a quadratic.
    """
    linear = (2 * n - b + c) * difference - b - c
    constant = -c * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    q = (root - linear) / (4 * n)
    variance = n * (2 * q + difference * (1 - difference))
    distance = b - c - n * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _upper_bound(b: int, c: int, n: int, z: float) -> float:
    """The largest difference with a statistic of at least -z, by bisection: it only falls."""
    inside, outside = (b - c) / n, 1.0
    for _ in range(100):
        middle = (inside + outside) / 2
        if score_statistic(b, c, n, middle) >= -z:
            inside = middle
        else:
            outside = middle
    return inside
