"""Replies in another API than OpenAI's: at status 200, whole, and with nothing in them for us."""

from collections.abc import Mapping
from typing import Any, Final

from harness.clients.faults import BAD_RESPONSE, RefusedError

_MAX_SHOWN: Final = 200
_OPENAI_COUNTS: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def is_of_another(event: Mapping[str, Any]) -> bool:
    """Whether it is no event of OpenAI's; those that say nothing in any API are not counted."""
    if not event or event.get("type") == "ping" or event.keys() & {"choices", "error"}:
        return False
    usage = event.get("usage")
    return not (isinstance(usage, dict) and usage.keys() & _OPENAI_COUNTS)


def other_api(first: str) -> RefusedError:
    """Every request would be answered so. `first`: how the reply begins, masked."""
    shown = " ".join(first.split())[:_MAX_SHOWN]
    return RefusedError(
        BAD_RESPONSE,
        f"it answers in another API than OpenAI's: {shown} (look at the address in "
        "endpoints.toml: it is the one of the server's OpenAI-compatible API that ends before "
        "/chat/completions, often in /v1)",
    )
