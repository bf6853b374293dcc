"""One HTTP answer as events, whatever it is: a stream, a whole reply, an error, or a page."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from harness.clients.faults import BAD_RESPONSE, BROKEN_STREAM, RefusedError, TransientError
from harness.clients.incoming import Mask
from harness.clients.openai.http_errors import dumped, error_from_response
from harness.clients.openai.other_apis import is_of_another, other_api
from harness.clients.openai.reply_bytes import Pieces, read_body, read_pieces
from harness.clients.openai.sse import MAX_RECENT, EventReader

_HTML: Final = "text/html"
# How events begin, or JSON, whatever is declared; and what may stand before them.
_EVENTS: Final = re.compile(rb"[\[{]|(?:data|event|id|retry)?:")
_BEFORE: Final = b" \t\r\n\xef\xbb\xbf"
_LONGEST_FIELD: Final = len("event:")


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
        self._pieces = Pieces(read_pieces(raw, encoding))
        self._stream = EventReader(aiter(self._pieces), mask)

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
        where the address may be the wrong one, or the API another.
        """
        kind = self._headers.get("content-type", "").strip().lower()
        if self._status != 200:
            raise error_from_response(self._status, self._headers, await self._body())
        if kind.startswith(_HTML) and await self._is_page():
            await self._body()
            raise self._page(kind)
        is_ours = False
        other: Mapping[str, Any] | None = None
        async for event in self._stream.events():
            if is_of_another(event):
                other = other or event
            else:
                is_ours = is_ours or bool(event.keys() & {"choices", "error"})
            yield event
        if other is not None and not is_ours:
            raise other_api(dumped(other))
        if not self.recent().strip():
            raise TransientError(BROKEN_STREAM, "it answers with status 200, and nothing in it")

    async def _is_page(self) -> bool:
        """What is called a page may be events all the same."""
        start = await self._pieces.beginning(_LONGEST_FIELD, skipped=_BEFORE)
        return _EVENTS.match(start) is None

    async def _body(self) -> str:
        body = self._mask((await read_body(self._pieces)).decode(errors="replace"))
        self._stream.recent = body[:MAX_RECENT]
        return body

    def _page(self, kind: str) -> RefusedError:
        return RefusedError(
            BAD_RESPONSE,
            f"{self._url} answers with {kind[:100]}, not with a stream; the address in "
            "endpoints.toml is the one that ends before /chat/completions, often in /v1",
            is_of_one=True,
        )
