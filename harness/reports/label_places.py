"""Where the names of marks stand: near them, over nothing else, and the same on every machine."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from harness.reports.text_size import text_width

# Distances from a mark that are tried, nearest first, and directions: right, then round.
_DISTANCES: Final = (9, 14, 20, 28, 38, 50, 64, 80, 98, 120, 146, 176, 210, 260)
_NUM_DIRECTIONS: Final = 24
# From this distance on a line leads from the name to its mark.
LEADER_FROM: Final = 17.0
# What lying over something soft, and a line that crosses something, cost: as so many units of way.
_OVER_SOFT: Final = 14.0
_CROSSING: Final = 40.0
_PASSES: Final = 3
# Marks so near to each other want the same places.
_NEAR: Final = 60

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the drawing; `y` grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """They have a place in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def holds(self, other: "Box") -> bool:
        """All of it."""
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )

    def is_crossed(self, start: Place, end: Place) -> bool:
        """By the straight line from start to end (Liang and Barsky's clipping)."""
        (x, y), (end_x, end_y) = start, end
        # Most lines are far off: this is asked of every place that is tried.
        if (x < self.left and end_x < self.left) or (x > self.right and end_x > self.right):
            return False
        if (y < self.top and end_y < self.top) or (y > self.bottom and end_y > self.bottom):
            return False
        entry, leaving = 0.0, 1.0
        sides = ((0, self.left, self.right), (1, self.top, self.bottom))
        for axis, low, high in sides:
            begin, way = start[axis], end[axis] - start[axis]
            if way == 0:
                if not low < begin < high:
                    return False
                continue
            first, last = sorted(((low - begin) / way, (high - begin) / way))
            entry, leaving = max(entry, first), min(leaving, last)
        return entry < leaving


@dataclass(frozen=True, slots=True)
class Label:
    """A name in its box, and the place on the box's edge that is nearest to its mark."""

    text: str
    box: Box
    anchor: Place
    distance: float

    @property
    def has_leader(self) -> bool:
        """It stands too far off to be seen to belong to its mark."""
        return self.distance >= LEADER_FROM


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """Where labels may be: what is hard they never lie over, what is soft only at a cost."""

    within: Box
    hard: Sequence[Box]
    soft: Sequence[Box]


def place_labels(marks: Mapping[str, Place], room: Room, size: float) -> dict[str, Label]:
    """A label of this size of type for each mark that one can be found for; no two meet."""
    placed: dict[str, Label] = {}
    # What has most neighbours chooses first.
    order = sorted(marks, key=lambda name: (-_num_near(marks[name], marks.values()), name))
    for _ in range(_PASSES):
        for name in order:
            others = [label for other, label in placed.items() if other != name]
            leaders = [(marks[one.text], one.anchor) for one in others if one.has_leader]
            candidates = _candidates(name, marks[name], size)
            best = _best(candidates, marks[name], room, others, leaders)
            if best is not None:
                placed[name] = best
    return {name: placed[name] for name in marks if name in placed}


def _num_near(place: Place, others: Iterable[Place]) -> int:
    return sum(math.dist(place, other) < _NEAR for other in others)


def _best(
    candidates: Iterator[Label],
    mark: Place,
    room: Room,
    others: Sequence[Label],
    leaders: Sequence[tuple[Place, Place]],
) -> Label | None:
    """The nearest free place, if what it lies over is worth no way."""
    best, least = None, math.inf
    taken = [*room.hard, *(label.box for label in others)]
    for label in candidates:
        # Every further one is as far off at least.
        if label.distance >= least:
            break
        if not room.within.holds(label.box) or any(label.box.meets(box) for box in taken):
            continue
        cost = label.distance + _OVER_SOFT * sum(label.box.meets(box) for box in room.soft)
        cost += _CROSSING * sum(label.box.is_crossed(*leader) for leader in leaders)
        if label.has_leader:
            # Its own mark is among the boxes that a line leaves.
            crossed = sum(box.is_crossed(mark, label.anchor) for box in taken)
            cost += _CROSSING * max(0, crossed - 1)
        if cost < least:
            best, least = label, cost
    return best


def _candidates(name: str, mark: Place, size: float) -> Iterator[Label]:
    width, height = text_width(name, size), size * 1.15
    x, y = mark
    for distance in _DISTANCES:
        for number in range(_NUM_DIRECTIONS):
            # Right first, then by turns below and above.
            turn = (number + 1) // 2 * (-1 if number % 2 else 1)
            angle = 2 * math.pi * turn / _NUM_DIRECTIONS
            across, down = math.cos(angle), math.sin(angle)
            anchor = (x + distance * across, y + distance * down)
            # Where the box is met from that direction.
            left = anchor[0] - width * (1 - across) / 2
            top = anchor[1] - height * (1 - down) / 2
            yield Label(name, Box(left, top, left + width, top + height), anchor, distance)
