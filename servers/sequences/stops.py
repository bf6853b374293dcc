"""Finds stop strings in text that comes in pieces."""

from collections.abc import Sequence


class StopFinder:
    """Lets text through up to the first stop string; holds back what may be the start of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def read(self, text: str) -> tuple[str, bool]:
        """The text that is safe to send, and whether a stop string (cut off) has been reached."""
        text = self._held + text
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        cut = len(text) - max(_num_held_back(text, stop) for stop in self._stops)
        self._held = text[cut:]
        return text[:cut], False

    def release(self) -> str:
        """What was held back, once it is known not to become a stop string."""
        held, self._held = self._held, ""
        return held


def _num_held_back(text: str, stop: str) -> int:
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
