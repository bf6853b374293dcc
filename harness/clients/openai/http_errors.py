"""What an HTTP answer that is no completion means: try again, ask otherwise, or give up."""

import json
import re
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from harness.clients.completion import CONTENT_FILTER
from harness.clients.faults import (
    BROKEN_STREAM,
    AttemptError,
    FilteredError,
    RefusedError,
    TransientError,
)

# Nobody answers, or is too busy to: others fare no better.
TRANSIENT_STATUSES: Final = frozenset({429, 502, 503, 504, 529})
# Worth another attempt; where it stays so, it may well be the request.
_FLAKY_STATUSES: Final = frozenset({408, 425, 500, *range(520, 528)})
# Others (a key, a model, an address) are about every request.
_OF_ONE_REQUEST: Final = frozenset({400, 413, 422})
# What servers say in an error beside a status, or in its place: in `code`, `type` or `status`.
_STATUS_OF_WORD: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "rate_limit",
            "rate_limit_error",
            "rate_limit_exceeded",
            "ratelimiterror",
            "requests",
            "resource_exhausted",
            "throttling",
            "throttling_exception",
            "tokens",
            "too_many_requests",
        ),
        429,
    ),
    **dict.fromkeys(
        (
            "capacity_exceeded",
            "engine_overloaded",
            "engine_overloaded_error",
            "overloaded",
            "overloaded_error",
            "server_overloaded",
            "service_unavailable",
            "service_unavailable_error",
            "serviceunavailableerror",
            "temporarily_unavailable",
            "unavailable",
        ),
        503,
    ),
    **dict.fromkeys(
        ("deadline_exceeded", "request_timeout", "timeout", "timeout_error", "timeouterror"), 408
    ),
    **dict.fromkeys(
        (
            "bad_request",
            "badrequesterror",
            "content_filter",
            "content_policy_violation",
            "context_length_exceeded",
            "invalid_argument",
            "invalid_request",
            "invalid_request_error",
        ),
        400,
    ),
    **dict.fromkeys(("authentication_error", "invalid_api_key"), 401),
    **dict.fromkeys(("permission_denied", "permission_error"), 403),
    **dict.fromkeys(("model_not_found", "not_found", "not_found_error"), 404),
}
_FILTERS: Final = frozenset(
    {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
)
# A 429 that no waiting helps.
_SPENT: Final = frozenset({"billing_hard_limit_reached", "insufficient_quota"})
# Reasons of an end that is none: the server gave up on it.
_BROKEN_ENDS: Final = frozenset(
    {"abort", "aborted", "cancelled", "canceled", "error", "network_error", "timeout"}
)
# Without these there is no request.
_NEEDED: Final = frozenset({"messages", "model", "prompt", "stream"})
_NOT_TAKEN: Final = re.compile(
    r"deprecated|extra (?:fields|inputs)|invalid parameter|not (?:allowed|permitted|supported)"
    r"|unexpected|unknown|unrecognized|unsupported|use '\w+' instead",
    re.IGNORECASE,
)
_TOO_FEW: Final = re.compile(
    r"higher max_\w*tokens|max_\w*tokens\b.{0,80}(?:at least|minimum|too small|>=)"
    r"|(?:minimum|too small).{0,80}\bmax_\w*tokens",
    re.IGNORECASE,
)
_PAGE: Final = re.compile(r"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
# What is between these is no text to read. No tag is looked through twice for its end.
_TAG: Final = re.compile(r"<(style|script)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_MAX_DETAIL: Final = 1000
_MAX_WORDS: Final = 200


def error_from_response(status: int, headers: Mapping[str, str], body: str) -> AttemptError:
    """The fault of an answer whose status is not 200, in the server's own words."""
    code, detail = f"HTTP_{status}", error_text(body)
    if _SPENT.intersection(_words(_loaded(body))):
        return RefusedError(code, detail)
    if status in TRANSIENT_STATUSES or status in _FLAKY_STATUSES:
        return TransientError(
            code,
            detail,
            retry_after_s=retry_after_s(headers.get("retry-after")),
            is_away=status in TRANSIENT_STATUSES,
        )
    if 300 <= status < 400:
        location = headers.get("location", "nowhere")[:_MAX_WORDS]
        return RefusedError(code, f"it redirects to {location}", is_of_one=True)
    if 400 <= status < 500 and _FILTERS.intersection(_words(_loaded(body))):
        return FilteredError(code, detail)
    if 400 <= status < 500:
        return RefusedError(
            code,
            detail,
            is_of_one=status in _OF_ONE_REQUEST,
            parameter=_parameter(_loaded(body)),
        )
    return AttemptError(code, detail)


def error_from_event(error: Any) -> AttemptError:
    """The fault that a server tells of in the middle of a stream, in whichever words.

    What says neither a status nor a word that is known is taken for a fault of the server (500).
    Where it began to answer, a refusal is of this one request.
    """
    words = _words(error)
    statuses = [int(word) for word in words if len(word) == 3 and word.isascii() and word.isdigit()]
    known = [_STATUS_OF_WORD[word] for word in words if word in _STATUS_OF_WORD]
    status = next((one for one in (*statuses, *known) if 400 <= one < 600), 500)
    fault = error_from_response(status, {}, dumped({"error": error}))
    if isinstance(fault, RefusedError):
        fault.is_of_one = not _SPENT.intersection(words)
    return fault


def error_from_end(reason: str) -> AttemptError | None:
    """The fault that a finish_reason tells of; None where the reply has ended."""
    if reason.lower() in _BROKEN_ENDS:
        return TransientError(BROKEN_STREAM, f"it ended with {reason!r}", is_away=False)
    if reason.lower() == CONTENT_FILTER:
        return FilteredError("HTTP_200", f"it ended with {reason!r}")
    return None


def error_text(body: str) -> str:
    """The message of an OpenAI error or of one of its kin, or the text as it is."""
    value = _loaded(body)
    for key in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(key):
            value = value[key]
    text = value if isinstance(value, str) else dumped(value)
    if _PAGE.match(text):
        words = " ".join(_TAG.sub(" ", text).split())[:_MAX_WORDS]
        text = f"it answers with a web page: {words}" if words else "it answers with a web page"
    return text.strip()[:_MAX_DETAIL]


def dumped(value: Any) -> str:
    """A value of a server's, as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "a deeply nested value"


def refused_parameter(error: AttemptError, sent: Iterable[str]) -> str | None:
    """Which of the parameters that were sent a server does not take, where it says so."""
    if not isinstance(error, RefusedError) or not error.is_of_one or is_over_context(error):
        return None
    names = [name for name in sent if name not in _NEEDED]
    if error.parameter in names:
        return error.parameter
    if not _NOT_TAKEN.search(error.detail):
        return None
    return next((one for one in names if re.search(rf"\b{one}\b", error.detail)), None)


def wants_more_tokens(error: AttemptError) -> bool:
    """A refusal of a completion for being too short: so thinking models' servers take it."""
    if not isinstance(error, RefusedError) or not error.is_of_one:
        return False
    return _TOO_FEW.search(error.detail) is not None


def is_over_context(error: AttemptError) -> bool:
    """A refusal that speaks of the length of what was sent."""
    if not isinstance(error, RefusedError) or not error.is_of_one:
        return False
    detail = error.detail.lower()
    return "context" in detail or ("token" in detail and "maximum" in detail)


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
    except (ValueError, OverflowError):
        return 0.0


def unwrapped(value: Any) -> Any:
    """The error of a list that holds it alone, as Google's servers send them; else the value."""
    is_one = isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict)
    return value[0] if is_one and "error" in value[0] else value


def _loaded(body: str) -> Any:
    try:
        return unwrapped(json.loads(body))
    except (ValueError, RecursionError):
        return body


def _parameter(error: Any) -> str:
    """`param` of an error, without what stands inside it."""
    inner = error.get("error") if isinstance(error, dict) else None
    name = inner.get("param") if isinstance(inner, dict) else None
    return re.split(r"[.\[]", name)[0] if isinstance(name, str) else ""


def _words(error: Any) -> list[str]:
    """What an error says of its kind, in `code`, `type` or `status`; it may be wrapped in one."""
    inner = error.get("error") if isinstance(error, dict) else None
    tables = [table for table in (error, inner) if isinstance(table, dict)]
    # Azure's filter says its name there.
    tables += [one for table in tables if isinstance(one := table.get("innererror"), dict)]
    said = [table.get(key) for table in tables for key in ("code", "status", "type")]
    words = [str(word) for word in said if isinstance(word, str | int)]
    return [word.strip().lower().replace("-", "_").replace(" ", "_") for word in words]
