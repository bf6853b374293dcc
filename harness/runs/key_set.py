"""Which samples there are: about a bit of each, for a run may have millions."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from harness.runs.records import Key

# Cell, address without its index, and repeat: what the samples of a row have in common.
Row = tuple[str, str, int]

_CHUNK_BITS: Final = 12
_CHUNK: Final = 1 << _CHUNK_BITS


class KeySet:
    """As a set of keys. What a damaged file has in the place of an index takes no more room."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        # Of each row the chunks of its indices that have one, as bits.
        self._rows: dict[Row, dict[int, bytearray]] = {}
        # Whose address does not end as one does.
        self._odd: set[Key] = set()
        self._num_of_cell: Counter[str] = Counter()
        for key in keys:
            self.add(key)

    def add(self, key: Key) -> bool:
        """Whether it is new."""
        cell, address, repeat = key
        start, index = split_address(address)
        if index is None:
            is_new = key not in self._odd
            self._odd.add(key)
        else:
            row = self._rows.setdefault((cell, start, repeat), {})
            chunk = row.get(index >> _CHUNK_BITS)
            if chunk is None:
                chunk = row[index >> _CHUNK_BITS] = bytearray(_CHUNK // 8)
            place, bit = (index & (_CHUNK - 1)) >> 3, 1 << (index & 7)
            is_new = not chunk[place] & bit
            chunk[place] |= bit
        if is_new:
            self._num_of_cell[cell] += 1
        return is_new

    def __contains__(self, key: Key) -> bool:
        cell, address, repeat = key
        start, index = split_address(address)
        if index is None:
            return key in self._odd
        chunk = self._rows.get((cell, start, repeat), {}).get(index >> _CHUNK_BITS)
        return chunk is not None and bool(chunk[(index & (_CHUNK - 1)) >> 3] & 1 << (index & 7))

    def __len__(self) -> int:
        return self._num_of_cell.total()

    def __iter__(self) -> Iterator[Key]:
        for (cell, start, repeat), indices in self.rows():
            for index in indices:
                yield cell, f"{start}={index}", repeat
        yield from self._odd

    def num_of_cell(self, cell: str) -> int:
        """How many there are of it."""
        return self._num_of_cell[cell]

    def rows(self) -> Iterator[tuple[Row, Iterator[int]]]:
        """Each with its indices; what has no index is in none."""
        return ((row, _indices(chunks)) for row, chunks in self._rows.items())


def split_address(address: str) -> tuple[str, int | None]:
    """All before the last `=`, and the index behind it; None: that is none."""
    start, _, index = address.rpartition("=")
    # Twenty digits are more than any index has; 07 is another text than 7.
    is_index = index.isascii() and index.isdigit() and len(index) < 20
    if not is_index or (index[0] == "0" and index != "0"):
        return start, None
    return start, int(index)


def _indices(chunks: dict[int, bytearray]) -> Iterator[int]:
    for number, chunk in chunks.items():
        for place, byte in enumerate(chunk):
            for bit in range(8):
                if byte >> bit & 1:
                    yield (number << _CHUNK_BITS) + 8 * place + bit
