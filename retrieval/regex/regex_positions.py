"""Sets of positions as the bits of one integer, some of them on a condition.

Assertions (`^`, `$`, `\\b`) are conditions on the kinds of the characters before and after: a
condition is a set of (before, after) pairs, again the bits of one integer.
"""

from collections.abc import Iterator
from typing import TypeAlias

# Kinds of neighbour: a word character, another character, the edge of the text.
WORD, OTHER, EDGE = KINDS = range(3)
ALWAYS = (1 << 9) - 1

Conditional: TypeAlias = dict[int, int]  # condition -> positions
Edges: TypeAlias = dict[int, dict[int, int]]  # condition -> distance -> target positions
Letters: TypeAlias = list[tuple[int, int]]  # (positions that accept it, its kind)


def pair(before: int, after: int) -> int:
    """The bit of a condition that stands for this pair of neighbours."""
    return 1 << (3 * before + after)


def mirrored(condition: int) -> int:
    """The same condition for a walk from the end to the start."""
    pairs = [(b, a) for b in KINDS for a in KINDS if condition & pair(b, a)]
    return sum(pair(after, before) for before, after in pairs)


def shifted(bits: int, distance: int) -> int:
    """Every position moved by `distance`, which may be negative."""
    return bits << distance if distance >= 0 else bits >> -distance


_BOUNDARY = sum(pair(b, a) for b in KINDS for a in KINDS if (b == WORD) != (a == WORD))
INSIDE = sum(pair(b, a) for b in (WORD, OTHER) for a in (WORD, OTHER))
CONDITIONS = {
    "^": sum(pair(EDGE, after) for after in KINDS),
    "$": sum(pair(before, EDGE) for before in KINDS),
    "b": _BOUNDARY,
    "B": ALWAYS & ~_BOUNDARY,
}


def repeated(bits: int, distance: int, count: int) -> int:
    """`count` times the same positions, each time `distance` further on."""
    copies = 1
    while copies < count:
        added = min(copies, count - copies)
        bits |= bits << distance * added
        copies += added
    return bits


def positions(bits: int) -> Iterator[int]:
    """The positions of a set, ascending: the order in which RE2 tries what may come next."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def union(left: Conditional, right: Conditional) -> Conditional:
    """The positions of both."""
    if not left or not right:
        return left or right
    both = dict(left)
    for condition, bits in right.items():
        both[condition] = both.get(condition, 0) | bits
    return both


def limited(places: Conditional, condition: int) -> Conditional:
    """`places` where `condition` must hold as well."""
    if condition in (0, ALWAYS):
        return places if condition else {}
    remaining: Conditional = {}
    for own, bits in places.items():
        if both := own & condition:
            remaining[both] = remaining.get(both, 0) | bits
    return remaining
