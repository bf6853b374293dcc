"""States after prompt prefixes that were read before, the least recently used forgotten first."""

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from harness_servers.engine.pool import state_bytes
from harness_servers.models.protocol import State


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

    def __init__(self, *, max_bytes: int) -> None:
        self.num_bytes = 0
        self._max_bytes = max_bytes
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
        """True where a snapshot of this prefix would be new, and any are kept at all."""
        return self._max_bytes > 0 and digest not in self._snapshots

    def keep(self, digest: bytes, snapshot: State) -> None:
        """Takes a new snapshot in, and forgets the oldest where they take too many bytes.

        One that is larger than all that may be kept would only drive out the others: it is dropped.
        """
        num_bytes = state_bytes(snapshot)
        if num_bytes > self._max_bytes:
            return
        self._snapshots[digest] = snapshot
        self.num_bytes += num_bytes
        while self.num_bytes > self._max_bytes:
            _, oldest = self._snapshots.popitem(last=False)
            self.num_bytes -= state_bytes(oldest)
