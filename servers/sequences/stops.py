"""Finds stop strings in text that comes in pieces; what is found does not depend on the pieces."""

from collections import deque
from collections.abc import Sequence


class StopFinder:
    """Lets text through up to the first stop string; holds back what may be the start of one.

    The first is the one that is complete first, and of those that end together the longest. One
    automaton for all of them, each character is looked at once: Aho and Corasick (1975), "Efficient
    string matching: an aid to bibliographic search", Communications of the ACM 18.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        # By node, which is the beginning of a stop string: the nodes after it, the node of its
        # longest end that is a beginning too, its length, and that of the longest stop it ends in.
        self._next: list[dict[str, int]] = [{}]
        self._shorter = [0]
        self._depth = [0]
        self._found = [0]
        for stop in stops:
            self._add(stop)
        self._link()
        self._node = 0
        self._held = ""

    def read(self, text: str) -> tuple[str, bool]:
        """The text that is safe to send, and whether a stop string (cut off) has been reached."""
        held = len(self._held)
        whole = self._held + text
        for index, character in enumerate(text, start=held + 1):
            self._node = self._follow(self._node, character)
            if length := self._found[self._node]:
                self.release()
                return whole[: index - length], True
        cut = len(whole) - self._depth[self._node]
        self._held = whole[cut:]
        return whole[:cut], False

    def release(self) -> str:
        """What was held back, once it is known not to become a stop string."""
        held, self._held = self._held, ""
        self._node = 0
        return held

    def _add(self, stop: str) -> None:
        node = 0
        for character in stop:
            after = self._next[node].setdefault(character, len(self._next))
            if after == len(self._next):
                self._next.append({})
                self._shorter.append(0)
                self._depth.append(self._depth[node] + 1)
                self._found.append(0)
            node = after
        self._found[node] = len(stop)

    def _link(self) -> None:
        """Breadth first: the links of a node are those of shorter ones, which are known then."""
        waiting = deque(self._next[0].values())
        while waiting:
            node = waiting.popleft()
            shorter = self._shorter[node]
            self._found[node] = self._found[node] or self._found[shorter]
            for character, after in self._next[node].items():
                self._shorter[after] = self._follow(shorter, character)
                waiting.append(after)

    def _follow(self, node: int, character: str) -> int:
        while node and character not in self._next[node]:
            node = self._shorter[node]
        return self._next[node].get(character, 0)
