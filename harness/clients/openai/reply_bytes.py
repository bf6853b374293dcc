"""The bytes of an HTTP answer: decompressed a little at a time, and never more than a bound."""

import zlib
from collections.abc import AsyncIterator
from typing import Final

from harness.clients.faults import BAD_RESPONSE, AttemptError

# Some hundred bytes a token: a hundred thousand tokens.
MAX_REPLY_BYTES: Final = 32 * 2**20
# Of an answer that is no stream so much is read.
MAX_BODY_BYTES: Final = 2**20
_PIECE_BYTES: Final = 65536
# gzip, or zlib.
_WINDOW_BITS: Final = 32 + zlib.MAX_WBITS


async def read_pieces(raw: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
    """The content in pieces. Raises AttemptError past MAX_REPLY_BYTES, or for a bad encoding."""
    pieces = raw if encoding in {"", "identity"} else _decompressed(raw, encoding)
    num_bytes = 0
    async for piece in pieces:
        num_bytes += len(piece)
        if num_bytes > MAX_REPLY_BYTES:
            raise AttemptError(BAD_RESPONSE, f"more than {MAX_REPLY_BYTES >> 20} MiB of reply")
        yield piece


async def read_body(pieces: AsyncIterator[bytes], most: int = MAX_BODY_BYTES) -> bytes:
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
    decompressor = zlib.decompressobj(_WINDOW_BITS)
    async for piece in raw:
        left = piece
        while left:
            if decompressor.eof:
                # gzip may have several members: a server that flushes often makes them.
                decompressor = zlib.decompressobj(_WINDOW_BITS)
            try:
                yield decompressor.decompress(left, _PIECE_BYTES)
            except zlib.error as error:
                raise AttemptError(BAD_RESPONSE, f"it is not {encoding}: {error}") from None
            left = decompressor.unused_data or decompressor.unconsumed_tail
