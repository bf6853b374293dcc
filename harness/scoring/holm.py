"""Several tests at once: p-values adjusted so that chance makes one or more small only so often."""

from collections.abc import Sequence


def holm(values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: each is below a level where Holm rejects at it.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6: the k-th smallest of m, counted from 0, is multiplied by m - k, is never below one
    that is smaller, and at most 1. Whatever the tests have to do with each other, the chance of one
    or more false rejections stays below the level.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted = [1.0] * len(values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, values[place] * (len(values) - rank)))
        adjusted[place] = largest
    return adjusted
