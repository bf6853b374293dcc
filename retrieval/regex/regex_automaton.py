"""The position automaton (Glushkov 1961) of a pattern: its states are sets of positions.

A position is one character of the pattern, repetitions written out. Positions are numbered in the
order in which RE2 tries them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from harness_retrieval.regex import regex_syntax as syntax
from harness_retrieval.regex.regex_positions import (
    ALWAYS,
    CONDITIONS,
    INSIDE,
    OTHER,
    WORD,
    Conditional,
    Edges,
    Letters,
    limited,
    positions,
    repeated,
    union,
)


class TooLargeError(Exception):
    """The automaton passes one of its bounds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of the pattern: where it begins and ends, and on what condition it can be empty."""

    first: Conditional = field(default_factory=dict)
    last: Conditional = field(default_factory=dict)
    empty_if: int = 0


@dataclass(kw_only=True, slots=True)
class Automaton:
    """Built by `build`; bit q of edges[condition][d] is the edge from position q-d to q."""

    max_positions: int
    max_edges: int
    edges: Edges = field(default_factory=dict)
    num_positions: int = 0
    num_edges: int = 0
    positions_of: dict[syntax.Ranges, int] = field(default_factory=dict)

    def build(self, node: syntax.Node) -> Part:
        """Adds the positions and edges of a pattern. Raises TooLargeError, NotCoveredError."""
        return self._build_row(node.parts if isinstance(node, syntax.Sequence) else (node,))

    def _build_row(self, row: tuple[syntax.Node, ...]) -> Part:
        """What follows a lazy repeat is tried before it, so it is numbered first."""
        for index, node in enumerate(row):
            if isinstance(node, syntax.Repeat) and node.is_lazy:
                before = self._build(syntax.Sequence(parts=row[:index]))
                after = self._build_row(row[index + 1 :])
                lazy = self._build(replace(node, is_lazy=False))
                return self._join(before, self._join(lazy, after))
        return self._build(syntax.Sequence(parts=row))

    def _build(self, node: syntax.Node) -> Part:
        match node:
            case syntax.Characters():
                return self._position(node.ranges)
            case syntax.Assertion():
                return Part(empty_if=CONDITIONS[node.kind])
            case syntax.Sequence():
                part = Part(empty_if=ALWAYS)
                for child in node.parts:
                    part = self._join(part, self._build(child))
                return part
            case syntax.Choice():
                options = [self._build(option) for option in node.options]
                if any(option.empty_if & INSIDE for option in options[:-1]):
                    raise TooLargeError  # what follows is tried before the later options
                return _either(options)
            case syntax.Repeat():
                if node.is_lazy:
                    raise syntax.NotCoveredError("a lazy repeat within a group")
                return self._repeat(node)

    def _position(self, ranges: syntax.Ranges) -> Part:
        bit = 1 << self.num_positions
        self.num_positions += 1
        self._check_size()
        self.positions_of[ranges] = self.positions_of.get(ranges, 0) | bit
        return Part(first={ALWAYS: bit}, last={ALWAYS: bit})

    def _repeat(self, node: syntax.Repeat) -> Part:
        num_copies = max(node.low, 1) if node.high is None else node.high
        copies = self._copies(node.part, num_copies)
        part = self._in_a_row(copies[: node.low])
        if node.high is not None:
            return self._with_optional(part, copies[node.low :])
        last = copies[-1]
        self._connect(last.last, last.first)
        if node.low == 0:
            return Part(first=last.first, last=last.last, empty_if=ALWAYS)
        return part

    def _copies(self, node: syntax.Node, count: int) -> list[Part]:
        """Builds `node` once; its copies are the same, further on."""
        if count == 0:
            return []
        start, edges_before = self.num_positions, self.num_edges
        known = {condition: dict(moves) for condition, moves in self.edges.items()}
        accepting = dict(self.positions_of)
        part = self._build(node)
        size = self.num_positions - start
        self.num_positions += size * (count - 1)
        self.num_edges += (self.num_edges - edges_before) * (count - 1)
        self._check_size()
        for ranges, bits in self.positions_of.items():
            new = bits & ~accepting.get(ranges, 0)
            self.positions_of[ranges] |= repeated(new, size, count)
        self._repeat_edges(known, size, count)
        return [_moved(part, size * index) for index in range(count)]

    def _in_a_row(self, copies: list[Part]) -> Part:
        if len(copies) < 3 or copies[0].empty_if:
            part = Part(empty_if=ALWAYS)
            for copy in copies:
                part = self._join(part, copy)
            return part
        # Each copy is connected to the next in the same way.
        distance = _lowest(copies[1].first) - _lowest(copies[0].first)
        known = {condition: dict(moves) for condition, moves in self.edges.items()}
        edges_before = self.num_edges
        self._connect(copies[0].last, copies[1].first)
        self.num_edges += (self.num_edges - edges_before) * (len(copies) - 2)
        self._check_size()
        self._repeat_edges(known, distance, len(copies) - 1)
        return Part(first=copies[0].first, last=copies[-1].last)

    def _with_optional(self, part: Part, copies: list[Part]) -> Part:
        """`part`, then any number of `copies`, nested as RE2 nests them: x{0,3} is (x(x(x)?)?)?."""
        first, last, ends, begins_if = part.first, part.last, part.last, part.empty_if
        for copy in copies:
            self._connect(ends, copy.first)
            first = union(first, limited(copy.first, begins_if))
            last = union(last, copy.last)
            ends = union(copy.last, limited(ends, copy.empty_if))
            begins_if &= copy.empty_if
        return Part(first=first, last=last, empty_if=part.empty_if)

    def _repeat_edges(self, known: Edges, distance: int, count: int) -> None:
        """Repeats the edges that are not `known`, each time `distance` further on."""
        for condition, moves in self.edges.items():
            known_moves = known.get(condition, {})
            for move, into in moves.items():
                if new := into & ~known_moves.get(move, 0):
                    moves[move] = into | repeated(new, distance, count)

    def _check_size(self) -> None:
        if self.num_positions > self.max_positions or self.num_edges > self.max_edges:
            raise TooLargeError

    def _join(self, left: Part, right: Part) -> Part:
        self._connect(left.last, right.first)
        return Part(
            first=union(left.first, limited(right.first, left.empty_if)),
            last=union(right.last, limited(left.last, right.empty_if)),
            empty_if=left.empty_if & right.empty_if,
        )

    def _connect(self, sources: Conditional, targets: Conditional) -> None:
        for source_condition, source_bits in sources.items():
            for target_condition, target_bits in targets.items():
                if condition := source_condition & target_condition:
                    self._connect_if(condition, source_bits, target_bits)

    def _connect_if(self, condition: int, sources: int, targets: int) -> None:
        self.num_edges += sources.bit_count() * targets.bit_count()
        self._check_size()
        by_distance = self.edges.setdefault(condition, {})
        target_positions = list(positions(targets))
        for source in positions(sources):
            for target in target_positions:
                distance = target - source
                by_distance[distance] = by_distance.get(distance, 0) | 1 << target

    def letters(self) -> Letters:
        """The characters that the pattern tells apart."""
        word_bit = 1 << self.num_positions
        accepted, letters = 0, {(0, OTHER)}
        changes: dict[int, int] = {}
        for ranges, bits in [*self.positions_of.items(), (syntax.WORD, word_bit)]:
            for low, high in _merged(ranges):
                changes[low] = changes.get(low, 0) ^ bits
                changes[high + 1] = changes.get(high + 1, 0) ^ bits
        for code in sorted(changes):
            accepted ^= changes[code]
            letters.add((accepted & ~word_bit, WORD if accepted & word_bit else OTHER))
        return sorted(letters)


def _moved(part: Part, distance: int) -> Part:
    return Part(
        first={condition: bits << distance for condition, bits in part.first.items()},
        last={condition: bits << distance for condition, bits in part.last.items()},
        empty_if=part.empty_if,
    )


def _lowest(places: Conditional) -> int:
    return min((bits & -bits).bit_length() for bits in places.values())


def _either(parts: list[Part]) -> Part:
    first: Conditional = {}
    last: Conditional = {}
    empty_if = 0
    for part in parts:
        first, last = union(first, part.first), union(last, part.last)
        empty_if |= part.empty_if
    return Part(first=first, last=last, empty_if=empty_if)


def _merged(ranges: syntax.Ranges) -> Iterator[tuple[int, int]]:
    """The same characters in ranges that neither overlap nor touch."""
    start, end = -1, -2
    for low, high in sorted(ranges):
        if low > end + 1:
            if end >= start >= 0:
                yield start, end
            start, end = low, high
        end = max(end, high)
    if end >= start >= 0:
        yield start, end
