"""How else than as it stands a target may be worded: what a task says of its own targets."""

import re
from dataclasses import dataclass
from typing import Final

_BETWEEN: Final = re.compile(r"[,;]\s*(?:and\s)?|\sand\s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """By default a target is worded in one way: its words, in their order, a space between."""

    # Its words are a list: `fok, bat`, `fok; bat` and `fok and bat` are `fok bat`.
    is_list: bool = False
    # So many single digits in a row are a number: with 3, `796` is `7 9 6`.
    num_digits: int = 0

    @property
    def told(self) -> str:
        """What is tolerated, for people; empty where nothing is."""
        parts = ["a list: `a, b`, `a; b` and `a and b` are `a b`"] if self.is_list else []
        if self.num_digits:
            digits = "123456789"[: self.num_digits]
            parts.append(f"numbers: `{digits}` is `{' '.join(digits)}`")
        return "; ".join(parts)

    def words(self, text: str) -> list[str]:
        """The words that a normalized text stands for; those of a target are the target's own."""
        words = (_BETWEEN.sub(" ", text) if self.is_list else text).split()
        if not self.num_digits:
            return words
        return [part for word in words for part in (word if self._is_number(word) else [word])]

    def _is_number(self, word: str) -> bool:
        return len(word) == self.num_digits and word.isascii() and word.isdigit()


AS_IT_STANDS: Final = Wording()
