"""A token and how likely a model found it: a value that is stored, free of protobuf."""

import math
from collections.abc import Iterable

from msgspec import Struct


class TopLogProb(Struct, frozen=True, kw_only=True):
    """One of the likeliest tokens of a place."""

    token_id: int
    token: str
    log_prob: float


class ScoredToken(Struct, frozen=True, kw_only=True):
    """A token as the vocabulary names it, its natural logarithm of a probability, and the likeliest

    tokens of its place. `log_prob` None: nothing stands before it.
    """

    token_id: int
    token: str
    log_prob: float | None
    top: tuple[TopLogProb, ...] = ()


def total_log_prob(tokens: Iterable[ScoredToken]) -> float:
    """Of all of them together, but for a first token that nothing stands before."""
    return math.fsum(one.log_prob for one in tokens if one.log_prob is not None)
