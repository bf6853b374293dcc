"""Whether requests queue at an endpoint, told by how long their first bytes take.

A long wait is a sign. Whether it was one shows once fewer are sent: a queue costs no answers.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

# Shorter waits for a first byte are no queue.
_LEAST_QUEUE_S: Final = 1.0
# Fewer requests at once that cost more than this share of the answers were not too many.
_WORTH: Final = 0.75
_NUM_JUDGED: Final = 4


@dataclass(kw_only=True, slots=True, eq=False)
class Sending:
    """One request on its way: when it was sent, and when the first of its answer came."""

    sent_at_s: float
    heard_at_s: float | None = None


@dataclass(kw_only=True, slots=True)
class _Trial:
    """Fewer are sent at once since answers came late: what it costs in answers a second."""

    limit_before: float
    rate_before: float
    excess_s: float
    answered_at_s: list[float] = field(default_factory=list)


class QueueSense:
    """Takes every answer of one endpoint in the order in which they come."""

    def __init__(self) -> None:
        self._answered_at_s: deque[float] = deque(maxlen=256)
        self._trial: _Trial | None = None
        self.begin_cell()

    def begin_cell(self) -> None:
        """Other prompts come: what is known of how long one is read is forgotten."""
        self._least_wait_s = float("inf")
        self._patience_s = _LEAST_QUEUE_S

    def answered(self, now_s: float) -> None:
        """Another answer is whole."""
        self._answered_at_s.append(now_s)

    def next_limit(self, sending: Sending, limit: float, now_s: float) -> float | None:
        """How many to send at once, after an answer to a request that was sent under `limit`.

        Half as many where it queued; as many as before where that helped nothing. None: as it is.
        """
        if self._trial is not None:
            return self._judged(self._trial, limit, now_s)
        excess_s = self._excess_s(sending, now_s)
        if limit <= 1 or excess_s <= 0:
            return None
        times = list(self._answered_at_s)[-_num_judged(limit) :]
        self._trial = _Trial(limit_before=limit, rate_before=_rate(times), excess_s=excess_s)
        return limit / 2

    def _excess_s(self, sending: Sending, now_s: float) -> float:
        """How much longer than the quickest it waited, where that is long; else 0.

        Long is longer than the answer itself took: then as many wait as are served.
        """
        heard_at_s = sending.heard_at_s or now_s
        wait_s = heard_at_s - sending.sent_at_s
        self._least_wait_s = min(self._least_wait_s, wait_s)
        excess_s = wait_s - self._least_wait_s
        return excess_s if excess_s > max(self._patience_s, now_s - heard_at_s) else 0.0

    def _judged(self, trial: _Trial, limit: float, now_s: float) -> float | None:
        """Where fewer at once brought fewer answers, the late ones were no queue's fault."""
        trial.answered_at_s.append(now_s)
        if len(trial.answered_at_s) < _num_judged(limit):
            return None
        self._trial = None
        if _rate(trial.answered_at_s) >= _WORTH * trial.rate_before:
            return None
        self._patience_s = max(self._patience_s, 2 * trial.excess_s)
        return trial.limit_before


def _num_judged(limit: float) -> int:
    return max(_NUM_JUDGED, int(limit))


def _rate(times_s: list[float]) -> float:
    """Answers a second; 0 where there are too few to tell."""
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return 0.0
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])
