"""How long a reader of a cell's completions waits: for the first token, and from token to token."""

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from harness.clients.completion import CompletionTimes
from harness.clients.token_intervals import quantile

_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
_TTFT: Final = "ttft_ms"
_INTERVAL: Final = "token_interval_ms"
# The names in the metrics of a cell.
WAITS: Final = tuple(f"{what}_{name}" for what in (_TTFT, _INTERVAL) for name in _SHARES)


class Waits:
    """Adds up the times of samples: eight bytes of each, and one histogram for all."""

    def __init__(self) -> None:
        self._ttfts_ms = array("d")
        self._intervals: Counter[int] = Counter()

    def add(self, times: CompletionTimes) -> None:
        """Of one sample; what was not told or stored is passed over."""
        if times.ttft_ms is not None:
            self._ttfts_ms.append(times.ttft_ms)
        self._intervals.update(times.token_intervals or {})

    def fields(self) -> dict[str, float | None]:
        """As the metrics of a cell have them."""
        ttfts_ms = sorted(self._ttfts_ms)
        ttfts = {f"{_TTFT}_{name}": _quantile(ttfts_ms, share) for name, share in _SHARES.items()}
        return {**ttfts, **interval_fields(self._intervals)}


def interval_fields(histogram: Mapping[int, int]) -> dict[str, float | None]:
    """The quantiles of token intervals by their names; None of no intervals."""
    return {f"{_INTERVAL}_{name}": quantile(histogram, share) for name, share in _SHARES.items()}


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Between the two values next to it, so that half is the median; None of no values."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
