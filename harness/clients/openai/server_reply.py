"""One HTTP answer as events, whatever it is: a stream, a whole reply, an error, or a page."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from harness.clients.faults import BAD_RESPONSE, BROKEN_STREAM, RefusedError, TransientError
from harness.clients.incoming import Mask
from harness.clients.openai.http_errors import error_from_response
from harness.clients.openai.reply_bytes import read_body, read_pieces
from harness.clients.openai.sse import MAX_RECENT, EventReader

_HTML: Final = "text/html"
_JSON: Final = "application/json"


class ServerReply:
    """Read once. All that is told of it is masked."""

    def __init__(
        self,
        *,
        url: str,
        status: int,
        headers: Mapping[str, str],
        raw: AsyncIterator[bytes],
        mask: Mask,
    ) -> None:
        self._url = mask(url)
        self._status = status
        self._headers = {name.lower(): mask(value) for name, value in headers.items()}
        self._mask = mask
        encoding = self._headers.get("content-encoding", "").strip().lower()
        self._pieces = read_pieces(raw, encoding)
        self._stream = EventReader(self._pieces, mask)

    @property
    def is_done(self) -> bool:
        """The stream said that it has ended."""
        return self._stream.is_done

    def recent(self) -> str:
        """The end of what came, in at most 2,000 characters."""
        return self._stream.recent

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The objects of the stream; a reply that is not streamed is one.

        Raises AttemptError for a status that is not 200, a page, and what is no event; RefusedError
        where the address may be the wrong one.
        """
        kind = self._headers.get("content-type", "").strip().lower()
        if self._status != 200:
            raise error_from_response(self._status, self._headers, await self._body())
        if kind.startswith((_HTML, _JSON)):
            yield self._whole_reply(kind, await self._body())
            return
        is_empty = True
        async for event in self._stream.events():
            is_empty = False
            yield event
        if is_empty and not self.recent().strip():
            raise TransientError(BROKEN_STREAM, "it answers with status 200, and nothing in it")

    async def _body(self) -> str:
        body = self._mask((await read_body(self._pieces)).decode(errors="replace"))
        self._stream.recent = body[:MAX_RECENT]
        return body

    def _whole_reply(self, kind: str, body: str) -> dict[str, Any]:
        """The reply of a server that does not stream, or tells of an error with status 200."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict) and ("choices" in value or "error" in value):
            return value
        raise RefusedError(
            BAD_RESPONSE,
            f"{self._url} answers with {kind[:100]}, not with a stream; the address in "
            "endpoints.toml is the one that ends before /chat/completions, often in /v1",
            is_of_one=True,
        )
