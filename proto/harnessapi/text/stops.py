"""Finds stop strings in text that comes in pieces."""

from collections.abc import Sequence
from functools import cached_property


class StopFinder:
    """Lets text through up to the first stop string; holds back what may be the start of one.

    The first is the one that ends first; of those that end together the longest. All are looked for
    at once: a character costs the same whatever their number.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        # One that holds another before its last character would always come too late.
        self._stops = frozenset(
            stop for stop in stops if not any(other in stop[:-1] for other in stops)
        )
        self._initials = frozenset(stop[0] for stop in self._stops)
        self._held = ""  # the longest end of the text so far that a stop string begins with

    def read(self, text: str) -> tuple[str, bool]:
        """The text that is safe to send, and whether a stop string (cut off) has been reached."""
        if not self._held and self._initials.isdisjoint(text):
            return text, False
        whole, held = self._held + text, self._held
        for end, character in enumerate(text, len(self._held) + 1):
            held += character
            while held not in self._beginnings:
                held = held[1:]
            if held in self._stops:
                self._held = ""
                return whole[: end - len(held)], True
        self._held = held
        return whole[: len(whole) - len(held)], False

    def release(self) -> str:
        """What was held back, once it is known not to become a stop string."""
        held, self._held = self._held, ""
        return held

    @cached_property
    def _beginnings(self) -> frozenset[str]:
        """Made when first needed: of a request that waits in the queue there is none."""
        return frozenset(stop[:length] for stop in self._stops for length in range(len(stop) + 1))
