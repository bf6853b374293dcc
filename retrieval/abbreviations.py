"""Short queries that stand for a regular expression: `7 -` for the first edge at vertex 7."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from harness_retrieval.limits import MAX_QUERY_CHARACTERS

_SLOT: Final = re.compile(r"\$([1-9])")


@dataclass(frozen=True, kw_only=True, slots=True)
class Abbreviation:
    r"""A query of words, some of them slots (`$1 - $2`), and the pattern that it stands for.

    A slot binds any one word; in the pattern it stands for that word, escaped. Raises ValueError
    for an empty or overlong text, and for a slot in the pattern that the query does not bind.
    """

    query: str
    pattern: str

    def __post_init__(self) -> None:
        for what, text in (("query", self.query), ("pattern", self.pattern)):
            if not text.strip():
                raise ValueError(f"the {what} of an abbreviation is empty")
            if len(text) > MAX_QUERY_CHARACTERS:
                raise ValueError(
                    f"the {what} of an abbreviation has {len(text)} characters, "
                    f"over {MAX_QUERY_CHARACTERS}"
                )
        bound = {word for word in self.query.split() if _SLOT.fullmatch(word)}
        unbound = [f"${slot}" for slot in _SLOT.findall(self.pattern) if f"${slot}" not in bound]
        if unbound:
            raise ValueError(f"abbreviation {self.query!r} has no slot {unbound[0]}")


def expand(abbreviations: Sequence[Abbreviation], query: str) -> str:
    """The pattern that `query` stands for, by the first abbreviation that fits; "" for none."""
    words = query.split()
    for abbreviation in abbreviations:
        bound = _bind(abbreviation.query.split(), words)
        if bound is not None:
            return _fill(abbreviation.pattern, bound)
    return ""


def _bind(template: list[str], words: list[str]) -> dict[str, str] | None:
    """What each slot stands for; None where the words do not fit."""
    if len(template) != len(words):
        return None
    bound: dict[str, str] = {}
    for expected, word in zip(template, words, strict=True):
        slot = _SLOT.fullmatch(expected)
        if (bound.setdefault(slot[1], word) if slot else expected) != word:
            return None
    return bound


def _fill(pattern: str, bound: dict[str, str]) -> str:
    return _SLOT.sub(lambda slot: re.escape(bound[slot[1]]), pattern)
