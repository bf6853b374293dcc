"""Numbers that are counted on one event loop and read from any thread: cheap, and without locks.

What they are called and how they are shown: `exposition`, which alone needs a library.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Labels = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """As Prometheus names it, with what it is and the names of its labels."""

    name: str
    help: str
    labels: Labels = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Counter(Named):
    """Grows only. By the values of its labels; without labels by ()."""

    values: dict[Labels, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, *labels: str, by: float = 1.0) -> None:
        """One value for each label, in their order."""
        self.values[labels] += by


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge(Named):
    """Read when somebody looks; None: there is nothing to be told. `grows`: it never falls."""

    grows: bool = False
    read: Callable[[], Mapping[Labels, float] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram(Named):
    """How many values were at most each of the bounds, and how many more; and their sum."""

    bounds: Sequence[float]
    # By the values of its labels: the number between each bound and the one before, and the sum.
    values: dict[Labels, list[float]] = field(default_factory=dict)

    def add(self, value: float, *labels: str, times: int = 1) -> None:
        """So many equal values."""
        counts = self.values.get(labels)
        if counts is None:
            counts = self.values[labels] = [0.0] * (len(self.bounds) + 2)
        counts[bisect_left(self.bounds, value)] += times
        counts[-1] += value * times


Tally = Counter | Gauge | Histogram


class Metrics:
    """All that a server tells of itself; what it is made of may come while it is looked at."""

    def __init__(self) -> None:
        self.tallies: list[Tally] = []

    def add(self, *tallies: Tally) -> None:
        """To be shown from now on."""
        self.tallies += tallies
