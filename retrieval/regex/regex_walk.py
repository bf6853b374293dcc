"""Visits every state that the automaton of a pattern can reach, or gives up at a bound.

RE2 keeps the positions of a state in the order in which they are tried. Two orders of one set are
two states, so sets are counted first, then it is made sure that order does not multiply them.
"""

from dataclasses import dataclass, field
from itertools import accumulate

from harness_retrieval.regex.regex_automaton import TooLargeError
from harness_retrieval.regex.regex_positions import (
    KINDS,
    OTHER,
    WORD,
    Conditional,
    Edges,
    Letters,
    pair,
    positions,
    shifted,
)

# Measured: up to here RE2 keeps what it builds within its memory, and a walk takes under 10 ms.
_MAX_STATES = 4_096
_MAX_STEPS = 20_000
_MAX_THREADS_OVER_STATES = 300_000
_MAX_THREADS_IN_ORDER = 8_000
_MAX_POSITIONS_SORTED = 800


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """How a state goes on where its last character has one kind and the next one of some kinds."""

    moves: list[tuple[int, int]]  # (distance, target positions)
    first: int  # positions that begin a match
    letters: Letters
    known: dict[int, int] = field(default_factory=dict)

    def after(self, position: int) -> int:
        """The positions that may come after one position."""
        if position not in self.known:
            self.known[position] = self.following(1 << position, begins=False)
        return self.known[position]

    def following(self, read: int, *, begins: bool) -> int:
        """The positions that may come next."""
        following = self.first if begins else 0
        for distance, into in self.moves:
            following |= shifted(read, distance) & into
        return following


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What was met: `max_threads` positions at once, `num_threads` over all states."""

    num_sets: int
    max_threads: int
    num_threads: int
    restarts_change_order: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Walker:
    """Walks one automaton from `first`. `restarts`: a match may begin anywhere, not only there."""

    edges: Edges
    letters: Letters
    first: Conditional
    num_positions: int
    restarts: bool

    def walk_sets(self) -> Walk:
        """Visits the states as sets of positions. Raises TooLargeError."""
        steps = self._steps()
        max_states = min(_MAX_STATES, _MAX_STEPS // max(1, sum(map(len, self.edges.values()))))
        waiting = [(0, kind) for kind in KINDS]
        seen: set[tuple[int, int]] = set()
        num_threads = max_threads = num_visited = 0
        restarts_change_order = False
        while waiting:
            read, before = waiting.pop()
            begins = num_visited < len(KINDS)
            num_visited += 1
            for step in steps[before]:
                following = step.following(read, begins=begins)
                if self.restarts:
                    restarts_change_order |= bool(following and step.first & ~following)
                    following |= step.first
                num_threads += following.bit_count()
                max_threads = max(max_threads, following.bit_count())
                new = {(following & letter, kind) for letter, kind in step.letters} - seen
                seen |= new
                waiting += new
            if len(seen) > max_states or num_threads > _MAX_THREADS_OVER_STATES:
                raise TooLargeError
        return Walk(
            num_sets=len({state for state, _ in seen}),
            max_threads=max_threads,
            num_threads=num_threads,
            restarts_change_order=restarts_change_order,
        )

    def check_order(self, walk: Walk) -> None:
        """Raises TooLargeError where the order of positions may multiply the states."""
        if walk.max_threads <= 2:
            return  # at most two orders a set
        if walk.num_threads <= _MAX_THREADS_IN_ORDER:
            self._walk_in_order()
        elif walk.restarts_change_order or not self._is_sorted():
            raise TooLargeError

    def _walk_in_order(self) -> None:
        steps = self._steps()
        waiting: list[tuple[tuple[int, ...], int]] = [((), kind) for kind in KINDS]
        seen: set[tuple[tuple[int, ...], int]] = set()
        num_threads = num_visited = 0
        while waiting:
            state, before = waiting.pop()
            begins = self.restarts or num_visited < len(KINDS)
            num_visited += 1
            for step in steps[before]:
                following = _in_order(step, state, begins=begins)
                num_threads += len(following)
                if num_threads > _MAX_THREADS_IN_ORDER:
                    raise TooLargeError
                for letter, kind in step.letters:
                    new = (tuple(p for p in following if letter >> p & 1), kind)
                    if new not in seen:
                        seen.add(new)
                        waiting.append(new)

    def _is_sorted(self) -> bool:
        """True where ascending positions are always followed by ascending positions."""
        if self.num_positions > _MAX_POSITIONS_SORTED:
            return False
        every = range(self.num_positions)
        steps = self._steps()[OTHER] + self._steps()[WORD]
        return all(_is_sorted([step.after(p) for p in every]) for step in steps)

    def _steps(self) -> list[list[_Step]]:
        return [self._steps_after(kind) for kind in KINDS]

    def _steps_after(self, before: int) -> list[_Step]:
        steps: list[_Step] = []
        for after in (WORD, OTHER):
            step = self._step(pair(before, after), after)
            if steps and (steps[0].moves, steps[0].first) == (step.moves, step.first):
                steps[0].letters.extend(step.letters)  # the usual case: no assertion between them
            else:
                steps.append(step)
        return steps

    def _step(self, neighbours: int, after: int) -> _Step:
        moves: list[tuple[int, int]] = []
        for condition, by_distance in self.edges.items():
            if condition & neighbours:
                moves += by_distance.items()
        first = 0
        for condition, begun in self.first.items():
            first |= begun if condition & neighbours else 0
        letters = [letter for letter in self.letters if letter[1] == after]
        return _Step(moves=moves, first=first, letters=letters)


def _is_sorted(targets: list[int]) -> bool:
    """`targets[p]`: the positions after p. A set compares as an integer by its highest position."""
    highest = list(accumulate(targets, max))
    for position, own in enumerate(targets):
        lowest = own & -own
        earlier = position - 1
        while earlier >= 0 and highest[earlier] > lowest:
            new = own & ~targets[earlier]
            if new and (new & -new) < targets[earlier]:
                return False
            earlier -= 1
    return True


def _in_order(step: _Step, state: tuple[int, ...], *, begins: bool) -> list[int]:
    seen = 0
    order: list[int] = []
    for position in state:
        new = step.after(position) & ~seen
        seen |= new
        order += positions(new)
    if begins:
        order += positions(step.first & ~seen)
    return order
