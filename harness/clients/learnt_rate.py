"""How far apart requests are sent where an endpoint limits their rate: learnt, and tried again."""

from collections import deque
from typing import Final

# Most limits are of requests a minute.
_WINDOW_S: Final = 60.0
# After so many answers the rate has doubled; it hardly grows at first.
_NUM_TO_DOUBLE: Final = 30


class LearntRate:
    """Of one endpoint. A cycle lasts from one opening, after a refusal, to the next."""

    def __init__(self) -> None:
        self._spacing_s = 0.0
        self._num_since = 0
        self._cycle_at_s: float | None = None
        self._num_in_cycle = 0
        # Of the last minute.
        self._let_in_at_s: deque[float] = deque()

    @property
    def spacing_s(self) -> float:
        """At least so long between two requests; 0 before anything is learnt."""
        return self._spacing_s / (1 + (self._num_since / _NUM_TO_DOUBLE) ** 3)

    def sent(self, now_s: float) -> None:
        """A request; the first one begins the first cycle."""
        if self._cycle_at_s is None:
            self._cycle_at_s = now_s

    def let_in(self, now_s: float) -> None:
        """A request that is being answered."""
        self._num_in_cycle += 1
        self._num_since += 1
        self._let_in_at_s.append(now_s)
        while self._let_in_at_s[0] <= now_s - _WINDOW_S:
            self._let_in_at_s.popleft()

    def reopened(self, now_s: float, *, is_rate_limit: bool) -> None:
        """One is let in again after refusals.

        So many were in all the time of the cycle, or in the last minute, whichever is the faster:
        the back-off may have lasted longer than the refusals would have.
        """
        if is_rate_limit and self._cycle_at_s is not None and self._num_in_cycle:
            of_cycle_s = (now_s - self._cycle_at_s) / self._num_in_cycle
            self._spacing_s = min(of_cycle_s, _WINDOW_S / len(self._let_in_at_s))
            self._num_since = 0
        self._cycle_at_s, self._num_in_cycle = now_s, 0
