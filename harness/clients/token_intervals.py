"""How long a reader waits from one token to the next: counted coarsely, so that little is stored.

A message may hold several tokens: they share evenly the time since the message before, and what
comes within five milliseconds is one message. So an interval is what a reader sees, searches
included. The tokens of the first message of a request have none: theirs is the time to first token.
"""

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Final

# Nearer messages may be one that was sent in several, a message for each part of the text.
_RESOLUTION_MS: Final = 5.0
# Each step is a factor of 1.09: a quantile is off by 4.5% at most.
_STEPS_PER_OCTAVE: Final = 8
# A microsecond, and five hours; what is beyond counts there.
_FIRST_STEP: Final = -10 * _STEPS_PER_OCTAVE
_LAST_STEP: Final = 24 * _STEPS_PER_OCTAVE


class TokenIntervals:
    """Takes what comes of one request, in order."""

    def __init__(self) -> None:
        # When the last message began.
        self._last_ms: float | None = None
        self._num_all = 0
        self._gaps_ms = array("d")
        self._counts = array("Q")

    def add(self, num_tokens: int, at_ms: float) -> None:
        """So many generated tokens, or pieces of text where no tokens are told; 0 is no message."""
        if not num_tokens:
            return
        self._num_all += num_tokens
        if self._last_ms is None:
            self._last_ms = at_ms
        elif at_ms - self._last_ms >= _RESOLUTION_MS:
            self._gaps_ms.append(at_ms - self._last_ms)
            self._counts.append(num_tokens)
            self._last_ms = at_ms
        elif self._counts:
            self._counts[-1] += num_tokens

    def histogram(self, num_tokens: int | None = None) -> dict[int, int]:
        """Tokens by step, see `quantile`; `num_tokens`: of all pieces, where it is known."""
        tokens_each = (num_tokens or self._num_all) / max(1, self._num_all)
        found: Counter[int] = Counter()
        for gap_ms, count in zip(self._gaps_ms, self._counts, strict=True):
            found[_step(gap_ms / (count * tokens_each))] += max(1, round(count * tokens_each))
        return dict(found)


def quantile(histogram: Mapping[int, int], share: float) -> float | None:
    """Milliseconds that this share of the intervals do not exceed; None of no intervals."""
    total = sum(histogram.values())
    num_below = 0
    for step, count in sorted(histogram.items()):
        num_below += count
        if num_below >= share * total > 0:
            return math.exp2((_clamped(step) + 0.5) / _STEPS_PER_OCTAVE)
    return None


def _step(interval_ms: float) -> int:
    return _clamped(math.floor(math.log2(interval_ms) * _STEPS_PER_OCTAVE))


def _clamped(step: int) -> int:
    return min(max(step, _FIRST_STEP), _LAST_STEP)
