"""Server-sent events as the OpenAI API uses them, over bytes: the data of each is a JSON object.

Lines end at CR, LF or CRLF alone; what JSON may hold besides (U+2028, U+0085) ends none. The data
of an event may take several lines. Beyond the standard, since servers do so: an event whose data is
whole on its first line needs no empty line after it; JSON may stand without `data:`, and where its
line is not all of it, whatever follows is; an error by name may be any text.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any, Final

from harness.clients.faults import BAD_RESPONSE, BROKEN_STREAM, AttemptError, TransientError
from harness.clients.incoming import Mask
from harness.clients.openai.http_errors import dumped, unwrapped
from harness.clients.openai.other_apis import other_api

DONE: Final = "[DONE]"
MAX_EVENT_BYTES: Final = 2**20
# Of what came last so much is kept, to be shown with a fault.
MAX_RECENT: Final = 2000
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_FIELDS: Final = ("data", "event", "id", "retry")
_ERROR: Final = "error"
# What JSON that stands without `data:` begins and ends with.
_BARE: Final = {"{": "}", "[": "]"}
_NOT_YET: Final = object()


class EventReader:
    """Read once. `is_done`: `[DONE]` came. `recent`: the end of what was read, masked."""

    def __init__(self, pieces: AsyncIterator[bytes], mask: Mask) -> None:
        self.is_done = False
        self.recent = ""
        self._pieces = pieces
        self._mask = mask
        self._name = ""
        self._data: list[str] = []
        # It stands without `data:`, on several lines.
        self._is_bare = False
        # Since the last event, whatever it was.
        self._num_bytes = 0
        self._num_events = 0
        self._is_foreign = False

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The objects up to `[DONE]` or the end of the stream.

        Raises AttemptError for data that is no JSON object, an event over MAX_EVENT_BYTES, or a
        text that is no stream of events at all; TransientError where it ends within one.
        """
        async for line in self._lines():
            event = self._read(line)
            if self.is_done:
                return
            if event is not None:
                yield event
        # By the standard this event is dropped; servers forget the last empty line.
        last = self._whole() if self._data else None
        if last is _NOT_YET and not self._is_closed():
            raise TransientError(BROKEN_STREAM, "the stream ended within an event", is_away=False)
        event = self._end(last)
        if event is not None:
            yield event
        if self._is_foreign and not self._num_events:
            raise AttemptError(BAD_RESPONSE, f"no stream of events: {self.recent[:200]}")

    async def _lines(self) -> AsyncIterator[str]:
        rest = bytearray()
        may_skip_newline = False
        async for piece in self._pieces:
            start = 1 if may_skip_newline and piece.startswith(b"\n") else 0
            for end in _LINE_END.finditer(piece, start):
                rest += piece[start : end.start()]
                yield self._text(rest)
                rest.clear()
                start = end.end()
            rest += piece[start:]
            may_skip_newline = piece.endswith(b"\r")
            if len(rest) > MAX_EVENT_BYTES:
                self._text(rest)
        if rest:
            yield self._text(rest)

    def _text(self, line: bytes | bytearray) -> str:
        """Always UTF-8, whatever is declared: so says the standard. Masked before all else.

        Raises AttemptError where nothing came of it for too long.
        """
        self._num_bytes += len(line) + 1
        is_too_long = self._num_bytes > MAX_EVENT_BYTES
        shown = line[:MAX_RECENT] if is_too_long else line
        text = self._mask(shown.decode("utf-8", "replace").removeprefix("\ufeff"))
        self.recent = f"{self.recent}{text}\n"[-MAX_RECENT:]
        if is_too_long:
            raise AttemptError(
                BAD_RESPONSE, f"more than {MAX_EVENT_BYTES >> 20} MiB without a whole event"
            )
        return text

    def _read(self, line: str) -> dict[str, Any] | None:
        """The event that this line ends."""
        if self._is_bare:
            self._data.append(line)
            return None
        if not line:
            return self._end(self._whole())
        field, _, value = line.partition(":")
        bare = line.strip()
        if bare.startswith(("{", "[{")) or bare == "[":
            # In the middle of an event it is a line of that.
            is_first = not self._data
            event = self._add(line)
            self._is_bare = is_first and bool(self._data)
            return event
        if field == "event":
            self._name = value.strip()
        elif field == "data":
            return self._add(value.removeprefix(" "))
        elif field and field not in _FIELDS:
            self._is_foreign = True
        return None

    def _add(self, data: str) -> dict[str, Any] | None:
        self._data.append(data)
        if len(self._data) > 1:
            return None
        event = self._whole()
        return None if event is _NOT_YET else self._end(event)

    def _end(self, event: Any) -> dict[str, Any] | None:
        if event is _NOT_YET and self._name == _ERROR:
            event = "\n".join(self._data)
        if event is _NOT_YET:
            raise AttemptError(BAD_RESPONSE, f"not JSON: {self._data[0][:200]}")
        named = None if event is None else self._named(event)
        self._name, self._data = "", []
        return named

    def _whole(self) -> Any:
        """The value of the data so far; None without any, `_NOT_YET` where it is no JSON."""
        data = "\n".join(self._data).strip()
        if not data:
            return None
        if data == DONE:
            self.is_done = True
            return None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return _NOT_YET

    def _is_closed(self) -> bool:
        """What is no JSON is all there, and not the beginning of some."""
        text = "\n".join(self._data).strip()
        return self._name == _ERROR or (self._is_bare and text.endswith(_BARE[text[0]]))

    def _named(self, event: Any) -> dict[str, Any]:
        event = unwrapped(event)
        if self._name == _ERROR and not (isinstance(event, dict) and "error" in event):
            event = {"error": event}
        is_list = isinstance(event, list) and event and isinstance(event[0], dict)
        if is_list and not self._num_events:
            raise other_api(dumped(event))
        if not isinstance(event, dict):
            raise AttemptError(BAD_RESPONSE, f"not an object: {dumped(event)[:200]}")
        self._num_events += 1
        self._num_bytes = 0
        return event
