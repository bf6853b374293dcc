"""The horizontal axis of the frontier: bytes of state on a logarithmic scale, perhaps broken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness.reports.units import short_bytes

# In powers of two: room beside the outermost marks, what is shown of the bound around its end.
_ROOM: Final = 0.6
_BELOW: Final = 4.0
_ABOVE: Final = 0.8
# Where more is empty between the bound and the first mark, the axis is broken.
_MOST_EMPTY: Final = 2.0
# Of the width: the bound's part, and the break.
_BOUND_SHARE: Final = 0.14
_BREAK_SHARE: Final = 0.035
_MIN_TICK_DISTANCE: Final = 44.0
_TICK_STEPS: Final = (1, 2, 4, 8, 16)
# Columns of marks nearer than this cover each other, and none is moved aside further than that.
_COLUMN: Final = 12.0
_MOST_ASIDE: Final = 26.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AxisStretch:
    """An unbroken part of the axis: powers of two, and where they are."""

    low: float
    high: float
    left: float
    right: float

    def across(self, power: float) -> float:
        """Where a power of two is."""
        return self.left + (power - self.low) / (self.high - self.low) * (self.right - self.left)

    def ticks(self) -> list[tuple[float, str]]:
        """Whole powers, as many as have room."""
        width = (self.right - self.left) / (self.high - self.low)
        step = next(s for s in _TICK_STEPS if s * width >= _MIN_TICK_DISTANCE or s == 16)
        powers = range(math.ceil(self.low), math.floor(self.high) + 1)
        return [(2.0**power, short_bytes(power)) for power in powers if power % step == 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class StateScale:
    """One stretch, or two with a break between them."""

    stretches: tuple[AxisStretch, ...]

    def __call__(self, state_bytes: float) -> float:
        """Where a state is; what lies in the break is between its edges."""
        power = math.log2(state_bytes)
        first, last = self.stretches[0], self.stretches[-1]
        if power >= last.low:
            return last.across(power)
        if power <= first.high:
            return first.across(power)
        share = (power - first.high) / (last.low - first.high)
        return first.right + share * (last.left - first.right)

    def holds(self, state_bytes: float) -> bool:
        """It lies on a stretch."""
        power = math.log2(state_bytes)
        return any(one.low <= power <= one.high for one in self.stretches)

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest state that it shows."""
        return 2.0 ** self.stretches[0].low, 2.0 ** self.stretches[-1].high

    @property
    def break_at(self) -> float | None:
        """The middle of its break."""
        if len(self.stretches) == 1:
            return None
        return (self.stretches[0].right + self.stretches[1].left) / 2

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """What the axis names."""
        return tuple(tick for one in self.stretches for tick in one.ticks())


def state_scale(
    states: Sequence[float], enough: float | None, left: float, right: float
) -> StateScale:
    """For these states, and for a bound that ends at `enough` bytes, where there is one."""
    low, high = math.log2(min(states)) - _ROOM, math.log2(max(states)) + _ROOM
    if high - low < 2:
        low, high = low - 0.5, high + 0.5
    low = max(0.0, low)
    # Of less than two bytes there is no rise to be seen.
    if enough is None or enough < 2:
        return StateScale(stretches=(AxisStretch(low=low, high=high, left=left, right=right),))
    begin, end = max(0.0, math.log2(enough) - _BELOW), math.log2(enough) + _ABOVE
    if low - end <= _MOST_EMPTY:
        low, high = min(low, begin), max(high, end)
        return StateScale(stretches=(AxisStretch(low=low, high=high, left=left, right=right),))
    width = right - left
    bound_end = left + _BOUND_SHARE * width
    return StateScale(
        stretches=(
            AxisStretch(low=begin, high=end, left=left, right=bound_end),
            AxisStretch(low=low, high=high, left=bound_end + _BREAK_SHARE * width, right=right),
        )
    )


def side_by_side(places: Sequence[float]) -> list[float]:
    """The same places, moved apart where columns of marks would cover each other."""
    order = sorted(range(len(places)), key=lambda number: places[number])
    groups: list[list[int]] = []
    for number in order:
        groups.append([number])
        while len(groups) > 1 and _overlap(places, groups[-2], groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = list(places)
    for group in groups:
        middle = sum(places[number] for number in group) / len(group)
        step = min(_COLUMN, 2 * _MOST_ASIDE / max(1, len(group) - 1))
        for position, number in enumerate(group):
            moved[number] = middle + (position - (len(group) - 1) / 2) * step
    return moved


def _overlap(places: Sequence[float], one: Sequence[int], other: Sequence[int]) -> bool:
    """Of groups, each laid out around its middle."""
    middles = [sum(places[number] for number in group) / len(group) for group in (one, other)]
    return middles[1] - middles[0] < (len(one) + len(other)) / 2 * _COLUMN
