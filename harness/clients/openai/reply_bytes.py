"""The bytes of an HTTP answer: decompressed a little at a time, and never more than a bound."""

import zlib
from collections.abc import AsyncIterable, AsyncIterator
from typing import Final

from harness.clients.faults import BAD_RESPONSE, AttemptError

# Some hundred bytes a token: a hundred thousand tokens.
MAX_REPLY_BYTES: Final = 32 * 2**20
# Of an answer that is no stream so much is read.
MAX_BODY_BYTES: Final = 2**20
_PIECE_BYTES: Final = 65536
# gzip, or zlib.
_WINDOW_BITS: Final = 32 + zlib.MAX_WBITS
_MAX_SKIPPED: Final = 4096
_GZIP: Final = b"\x1f\x8b"


async def read_pieces(raw: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """The content in pieces. Raises AttemptError past MAX_REPLY_BYTES, or for a bad encoding."""
    pieces = raw if encoding in {"", "identity"} else _decompressed(raw, encoding)
    num_bytes = 0
    async for piece in pieces:
        num_bytes += len(piece)
        if num_bytes > MAX_REPLY_BYTES:
            raise AttemptError(BAD_RESPONSE, f"more than {MAX_REPLY_BYTES >> 20} MiB of reply")
        yield piece


class Pieces:
    """The pieces of one reply, read once; how it begins may be looked at before."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._seen = b""

    async def beginning(self, num_bytes: int, *, skipped: bytes = b"") -> bytes:
        """At least so many bytes behind those that are skipped, where there soon are as many."""
        while len(start := self._seen.lstrip(skipped)) < num_bytes:
            if len(self._seen) > _MAX_SKIPPED:
                break
            piece = await anext(self._pieces, None)
            if piece is None:
                break
            self._seen += piece
        return start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen, self._seen = self._seen, b""
        yield seen
        async for piece in self._pieces:
            yield piece


async def read_body(pieces: AsyncIterable[bytes], most: int = MAX_BODY_BYTES) -> bytes:
    """The first `most` bytes of it."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) >= most:
            break
    return bytes(body[:most])


async def _decompressed(raw: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise AttemptError(BAD_RESPONSE, f"content-encoding {encoding[:100]!r} was not asked for")
    pieces = Pieces(raw)
    start = await pieces.beginning(2)
    bits = -zlib.MAX_WBITS if encoding == "deflate" and _is_raw(start) else _WINDOW_BITS
    decompressor = zlib.decompressobj(bits)
    async for piece in pieces:
        left = piece
        while left:
            if decompressor.eof:
                # gzip may have several members: a server that flushes often makes them.
                decompressor = zlib.decompressobj(bits)
            try:
                yield decompressor.decompress(left, _PIECE_BYTES)
            except zlib.error as error:
                raise AttemptError(BAD_RESPONSE, f"it is not {encoding}: {error}") from None
            left = decompressor.unused_data or decompressor.unconsumed_tail


def _is_raw(start: bytes) -> bool:
    """Deflate without the two bytes of zlib around it, which some take the name to mean."""
    is_zlib = start[:1] and start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0
    return not (is_zlib or start.startswith(_GZIP))
