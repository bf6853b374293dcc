"""Reads the common part of RE2's syntax into a tree, for the estimate of what a pattern costs.

Patterns have been accepted by RE2 before, so only what is not covered here needs to be noticed.
"""

from dataclasses import dataclass
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]

_LAST_CHARACTER = 0x10FFFF
_DIGIT: Ranges = ((48, 57),)
_SPACE: Ranges = ((9, 10), (12, 13), (32, 32))
WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_CLASSES: dict[str, Ranges] = {"d": _DIGIT, "s": _SPACE, "w": WORD}
_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_ASSERTIONS = {"A": "^", "z": "$", "b": "b", "B": "B"}


class NotCoveredError(Exception):
    """The pattern uses syntax that is left out here (flags, classes by name, most lazy repeats)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Characters:
    """One character out of `ranges` (first and last code point of each, both included)."""

    ranges: Ranges


@dataclass(frozen=True, kw_only=True, slots=True)
class Assertion:
    """Matches between characters: `^`, `$`, `b` (word boundary) or `B` (no word boundary)."""

    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequence:
    """All of `parts`, one after the other."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of `options`."""

    options: tuple["Node", ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """`part`, at least `low` times and at most `high` times (None: any number).

    A lazy one (`x*?`, the only one that is read) prefers to end.
    """

    part: "Node"
    low: int
    high: int | None
    is_lazy: bool = False


Node: TypeAlias = Characters | Assertion | Sequence | Choice | Repeat


def parse(pattern: str) -> Node:
    """The tree of a pattern that RE2 accepts. Raises NotCoveredError."""
    reader = _Reader(pattern)
    node = reader.choice()
    if reader.peek():
        raise NotCoveredError(pattern)
    return node


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0

    def peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def take(self) -> str:
        character = self.peek()
        if not character:
            raise NotCoveredError(self._pattern)
        self._at += 1
        return character

    def skip(self, text: str) -> bool:
        found = self._pattern.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def choice(self) -> Node:
        options = [self._sequence()]
        while self.skip("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else Choice(options=tuple(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return Sequence(parts=tuple(parts))

    def _atom(self) -> Node:
        character = self.take()
        if character == "(":
            return self._group()
        if character in "^$":
            return Assertion(kind=character)
        if character == "\\" and self.peek() in _ASSERTIONS:
            return Assertion(kind=_ASSERTIONS[self.take()])
        return Characters(ranges=self._ranges_from(character))

    def _ranges_from(self, character: str) -> Ranges:
        if character == "[":
            return self._bracket()
        if character == ".":
            return _complement(((10, 10),))
        if character == "\\":
            return self._escape()
        return ((ord(character), ord(character)),)

    def _group(self) -> Node:
        if self.skip("?P<") or self.skip("?<"):
            while self.take() != ">":
                pass
        elif not self.skip("?:") and self.peek() == "?":
            raise NotCoveredError(self._pattern)
        node = self.choice()
        if not self.skip(")"):
            raise NotCoveredError(self._pattern)
        return node

    def _repeated(self, node: Node) -> Node:
        while True:
            if self.skip("*"):
                low, high = 0, None
            elif self.skip("+"):
                low, high = 1, None
            elif self.skip("?"):
                low, high = 0, 1
            elif (bounds := self._braces()) is not None:
                low, high = bounds
            else:
                return node
            is_lazy = self.skip("?")
            if is_lazy and (low, high) != (0, None):
                raise NotCoveredError(self._pattern)
            node = Repeat(part=node, low=low, high=high, is_lazy=is_lazy)

    def _braces(self) -> tuple[int, int | None] | None:
        end = self._pattern.find("}", self._at)
        if self.peek() != "{" or end < 0:
            return None
        low, comma, high = self._pattern[self._at + 1 : end].partition(",")
        if not low.isdigit() or (high and not high.isdigit()):
            return None  # RE2 reads such braces as plain characters
        self._at = end + 1
        return int(low), (int(high) if high else None) if comma else int(low)

    def _escape(self) -> Ranges:
        character = self.take()
        if character.lower() in _CLASSES:
            ranges = _CLASSES[character.lower()]
            return ranges if character.islower() else _complement(ranges)
        code = _CONTROLS.get(character, ord(character))
        if character.isalnum() and character not in _CONTROLS:
            raise NotCoveredError(self._pattern)
        return ((code, code),)

    def _bracket(self) -> Ranges:
        negated = self.skip("^")
        ranges: list[tuple[int, int]] = []
        while not ranges or self.peek() != "]":
            if self.peek() == "[":
                raise NotCoveredError(self._pattern)  # perhaps a POSIX class
            ranges += self._bracket_item()
        self.take()
        return _complement(tuple(ranges)) if negated else tuple(ranges)

    def _bracket_item(self) -> Ranges:
        first = self._bracket_character()
        if not self._pattern.startswith("-", self._at) or self._pattern.startswith("-]", self._at):
            return first
        self.take()
        last = self._bracket_character()
        return ((first[0][0], last[-1][1]),)

    def _bracket_character(self) -> Ranges:
        if self.skip("\\"):
            return self._escape()
        code = ord(self.take())
        return ((code, code),)


def _complement(ranges: Ranges) -> Ranges:
    gaps: list[tuple[int, int]] = []
    next_code = 0
    for low, high in sorted(ranges):
        if low > next_code:
            gaps.append((next_code, low - 1))
        next_code = max(next_code, high + 1)
    if next_code <= _LAST_CHARACTER:
        gaps.append((next_code, _LAST_CHARACTER))
    return tuple(gaps)
