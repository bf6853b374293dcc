"""Cuts a growing text into passages at a separator."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

# Separators looked for at once: a millisecond or two.
_PIECE_N: Final = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class Passage:
    """A passage without white space around it; it stands at `[start, end)`, in characters."""

    text: str
    start: int
    end: int


class PassageSplitter:
    """Reads a text piece by piece, each character once; blank passages are left out."""

    def __init__(self, separator: str) -> None:
        self._separator = separator
        self.begin = 0  # where the unfinished passage begins

    def complete(self, text: str, go_on: Callable[[], None]) -> Iterator[Passage]:
        """Passages that were completed since the last call; `text` is the whole text, grown.

        Calls `go_on` now and then; where that raises, the next call goes on from there.
        """
        num_found = 0
        while (end := text.find(self._separator, self.begin)) >= 0:
            begin, self.begin = self.begin, end + len(self._separator)
            yield from _passage(text, begin, end)
            num_found += 1
            if num_found % _PIECE_N == 0:
                go_on()

    def unfinished(self, text: str) -> list[Passage]:
        """The passage after the last separator, none where it is blank."""
        return _passage(text, self.begin, len(text))


def _passage(text: str, begin: int, end: int) -> list[Passage]:
    raw = text[begin:end]
    stripped = raw.strip()
    if not stripped:
        return []
    start = begin + len(raw) - len(raw.lstrip())
    return [Passage(text=stripped, start=start, end=start + len(stripped))]
