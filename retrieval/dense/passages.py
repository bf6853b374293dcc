"""Cuts a growing text into passages at a separator."""

from collections.abc import Iterator
from dataclasses import dataclass


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
        self._begin = 0  # where the unfinished passage begins

    def complete(self, text: str) -> Iterator[Passage]:
        """Passages that were completed since the last call; `text` is the whole text, grown.

        One that is not taken is given by the next call.
        """
        while (end := text.find(self._separator, self._begin)) >= 0:
            passages = _passage(text, self._begin, end)
            self._begin = end + len(self._separator)
            yield from passages

    def unfinished(self, text: str) -> list[Passage]:
        """The passage after the last separator, none where it is blank."""
        return _passage(text, self._begin, len(text))


def _passage(text: str, begin: int, end: int) -> list[Passage]:
    raw = text[begin:end]
    stripped = raw.strip()
    if not stripped:
        return []
    start = begin + len(raw) - len(raw.lstrip())
    return [Passage(text=stripped, start=start, end=start + len(stripped))]
