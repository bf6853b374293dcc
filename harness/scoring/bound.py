"""How well a state of so many bits can recall, whatever the model: an upper bound.

Setting: n values, each drawn independently and evenly from V words; afterwards a question picks one
of the n evenly. All that is left of the context is a state of at most b bits, and whatever is
written later (a chain of thought too) is a function of state and question. Where p_i is the
probability of naming value i rightly, given the state S:

    b >= H(S) >= I(values; S) >= sum_i I(value_i; S)        the values are independent
    I(value_i; S) >= R(p_i),  R(p) = log2 V - h(p) - (1 - p) log2(V - 1)        Fano's inequality

R is the rate-distortion function of an even source under Hamming distortion: convex, 0 at the
guess p = 1/V, log2 V at p = 1. So, by Jensen's inequality, the expected recall p keeps
R(p) <= b / n. (Cover and Thomas, Elements of Information Theory, theorem 2.10.1 for Fano,
section 10.3 for R.) Everything else that the state has to hold, the keys first, is given for free
here: no model gets more, and a real one gets less.
"""

import math

# The test split is about half of all contexts: knowing that tells about one bit of the values.
SPLIT_BITS = 2.0


def rate_bits(recall: float, num_words: int) -> float:
    """R(p): bits that one value of `num_words` costs at least, to be named rightly so often.

    0 at or below the guess 1 / num_words. Raises ValueError where `recall` is no probability.
    """
    if not 0 <= recall <= 1 or num_words < 1:
        raise ValueError(f"recall {recall} of {num_words} words")
    if recall <= 1 / num_words:
        return 0.0
    missed = 1 - recall
    cost = math.log2(num_words) + recall * math.log2(recall)
    if missed > 0:
        cost += missed * math.log2(missed / (num_words - 1))
    return max(0.0, cost)


def recall_bound(state_bits: float, num_values: int, num_words: int) -> float:
    """The largest p with num_values * R(p) <= state_bits (and the bits of the split): at most 1."""
    bits_each = (state_bits + SPLIT_BITS) / num_values
    if bits_each >= rate_bits(1.0, num_words):
        return 1.0
    low, high = 1 / num_words, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rate_bits(middle, num_words) <= bits_each:
            low = middle
        else:
            high = middle
    return high


def bits_needed(recall: float, num_values: int, num_words: int) -> float:
    """The same bound turned round: a model that recalls so well carries at least so many bits."""
    return max(0.0, num_values * rate_bits(recall, num_words) - SPLIT_BITS)
