"""What the best simple guesses reach: those that count what stands in a context and find nothing.

Exact where there is a closed form, else the mean over contexts that are drawn here, each with
what the guess is expected to be worth on it: the same figures in any process.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from heapq import nlargest
from math import comb, perm, prod
from typing import Final

# Their worth differs little from context to context: the mean is true to about 0.003.
_NUM_CONTEXTS: Final = 500
_NEGLIGIBLE: Final = 1e-12


@cache
def commonest(num_drawn: int, num_words: int) -> float:
    """Naming the commonest of words drawn evenly with replacement, where one of them is asked.

    The expected count of the commonest, over the number drawn.
    """
    expected = 1.0
    for most in range(1, num_drawn):
        at_most = _num_rows(num_drawn, num_words, most) / num_words**num_drawn
        if 1 - at_most < _NEGLIGIBLE:
            break
        expected += 1 - at_most
    return expected / num_drawn


def _num_rows(length: int, num_words: int, most: int) -> int:
    """Rows of words in which none occurs more often than `most`.

    They are counted by the exponential generating function (1 + x + ... + x^most / most!)^words,
    its powers by J. C. P. Miller's recurrence (Knuth, volume 2, 4.7).
    """
    numbers = [1]
    for k in range(1, length + 1):
        terms = (
            (i * (num_words + 1) - k) * comb(k, i) * numbers[k - i]
            for i in range(1, min(k, most) + 1)
        )
        numbers.append(sum(terms) // k)
    return numbers[length]


@cache
def in_a_row(num_drawn: int, num_words: int, num_asked: int) -> float:
    """The same where several are asked, each place at most once, and all have to be right.

    The best answer names the commonest again and again, as often as it may be asked, then others.
    """
    if num_asked == 1:
        return commonest(num_drawn, num_words)
    if num_asked == num_drawn:
        # The mean of the product of the counts' factorials, over the orders of all places.
        return float(comb(num_drawn + num_words - 1, num_drawn) / num_words**num_drawn)

    def worth(generator: random.Random) -> float:
        counts = Counter(generator.choices(range(num_words), k=num_drawn)).values()
        left: Iterator[int] = (rest for count in counts for rest in range(1, count + 1))
        return prod(nlargest(num_asked, left)) / perm(num_drawn, num_asked)

    return mean_over_contexts(worth)


def mean_over_contexts(worth: Callable[[random.Random], float]) -> float:
    """`worth` draws a context and says what a guess is worth on it."""
    return sum(worth(random.Random(number)) for number in range(_NUM_CONTEXTS)) / _NUM_CONTEXTS
