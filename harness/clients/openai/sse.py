"""Server-sent events as the OpenAI API uses them: each `data:` line is a JSON object."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

from harness.clients.faults import AttemptError

_DATA: Final = "data:"
_DONE: Final = "[DONE]"


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """The objects up to `[DONE]` or the end of the stream; comments and other fields are skipped.

    Raises AttemptError for data that is no JSON object.
    """
    async for line in lines:
        if not line.startswith(_DATA):
            continue
        data = line.removeprefix(_DATA).strip()
        if data == _DONE:
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise AttemptError("BAD_RESPONSE", f"not JSON: {data[:200]}") from None
        if not isinstance(event, dict):
            raise AttemptError("BAD_RESPONSE", f"not an object: {data[:200]}")
        yield event
