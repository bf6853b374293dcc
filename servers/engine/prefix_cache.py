"""States after prompt prefixes that were read before, the least recently used forgotten first."""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from servers.models.protocol import State


def prefix_digests(prompt_ids: Sequence[int], interval: int) -> dict[int, bytes]:
    """Digests of the prefixes that may be kept, by length: multiples of interval, and all but one.

    The last token is always left to be read: the next token is drawn after it.
    """
    data = array("I", prompt_ids)
    longest = len(prompt_ids) - 1
    lengths = [*range(interval, longest, interval), longest] if longest > 0 else []
    whole = hashlib.blake2b(digest_size=16)
    digests = {}
    start = 0
    for length in lengths:
        whole.update(data[start:length])
        digests[length] = whole.digest()
        start = length
    return digests


class PrefixCache:
    """Snapshots by prefix digest, up to a number of bytes. Snapshots are not to be changed."""

    def __init__(self, *, max_bytes: int, state_bytes: int) -> None:
        self._max_entries = max_bytes // max(1, state_bytes)
        self._snapshots: OrderedDict[bytes, State] = OrderedDict()

    def __len__(self) -> int:
        return len(self._snapshots)

    def longest(self, prefixes: Mapping[int, bytes]) -> tuple[int, State] | None:
        """The longest of these prefixes (length to digest) whose state is kept."""
        if not self._snapshots:
            return None
        for length in sorted(prefixes, reverse=True):
            snapshot = self._snapshots.get(prefixes[length])
            if snapshot is not None:
                self._snapshots.move_to_end(prefixes[length])
                return length, snapshot
        return None

    def wants(self, digest: bytes) -> bool:
        """True where a snapshot of this prefix would be new and there is room for one."""
        return self._max_entries > 0 and digest not in self._snapshots

    def keep(self, digest: bytes, snapshot: State) -> None:
        """Takes a snapshot in, and forgets the oldest where there are too many."""
        self._snapshots[digest] = snapshot
        while len(self._snapshots) > self._max_entries:
            self._snapshots.popitem(last=False)
