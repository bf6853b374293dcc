"""What an HTTP answer that is no completion means: try again, ask otherwise, or give up."""

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from harness.clients.faults import AttemptError, FilteredError, RefusedError, TransientError

TRANSIENT_STATUSES: Final = frozenset({429, 502, 503, 504})
_FILTERS: Final = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
)
_MAX_DETAIL: Final = 1000


def error_from_response(status: int, headers: Mapping[str, str], body: str) -> AttemptError:
    """The fault of an answer whose status is not 200, in the server's own words."""
    code, detail = f"HTTP_{status}", error_text(body)
    if status in TRANSIENT_STATUSES:
        return TransientError(code, detail, retry_after_s=retry_after_s(headers.get("retry-after")))
    if 300 <= status < 400:
        return RefusedError(code, f"it redirects to {headers.get('location', 'nowhere')}")
    if 400 <= status < 500:
        return (FilteredError if _is_filtered(body) else RefusedError)(code, detail)
    return AttemptError(code, detail)


def error_from_event(error: Any) -> AttemptError:
    """The fault that a server tells of in the middle of a stream."""
    status = error.get("code") if isinstance(error, dict) else None
    body = json.dumps({"error": error})
    return error_from_response(status if isinstance(status, int) else 500, {}, body)


def _is_filtered(body: str) -> bool:
    """Whether an error's code, its type, or the code of Azure's inner error names a filter."""
    try:
        value = json.loads(body)
    except ValueError:
        return False
    error = value.get("error", value) if isinstance(value, dict) else None
    if not isinstance(error, dict):
        return False
    inner = error.get("innererror")
    names = [error.get("code"), error.get("type")]
    names.append(inner.get("code") if isinstance(inner, dict) else None)
    return any(isinstance(name, str) and name.casefold() in _FILTERS for name in names)


def error_text(body: str) -> str:
    """`error.message` of an OpenAI error, or the text as it is."""
    try:
        value = json.loads(body)
    except ValueError:
        value = body.strip()
    for key in ("error", "message"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_MAX_DETAIL]


def retry_after_s(value: str | None) -> float:
    """The seconds of a Retry-After header, which gives them or a date; 0 without a usable one."""
    if value is None:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
