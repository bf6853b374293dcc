"""What a request ends with that is not answered: a status, and OpenAI's error object."""

import re
from typing import Any, Final

from harness.clients.faults import (
    AttemptError,
    DeadlineError,
    RefusedError,
    TransientError,
)

# Seconds that a client is asked to wait where the endpoint does not say.
_RETRY_AFTER_S: Final = 1
# Words of the prompt, as a refusal shows them.
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
# The parameter that an endpoint's refusal is about, by the first of these words in it.
_PARAMETERS: Final = (
    (re.compile(r"\bmax_new_tokens\b"), "max_tokens"),
    (re.compile(r"\b(temperature|top_p|seed|stop)\b"), None),
    (re.compile(r"\btop_log_probs\b"), "logprobs"),
    (
        re.compile(
            r"\b(retrieval|abbreviations?|searched_text|result_prefix|result_suffix|failed_text"
            r"|max_inserted_tokens)\b"
        ),
        "recall",
    ),
    (re.compile(r"\btop_k\b"), "top_k"),
)


class ApiError(Exception):
    """Answered with `status` and an error object; `param` names the field that is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}

    def body(self) -> dict[str, Any]:
        """As OpenAI's servers word it."""
        return {
            "error": {
                "message": self.message,
                "type": _kind(self.status),
                "param": self.param,
                "code": self.code,
            }
        }


def refused(param: str, message: str) -> ApiError:
    """The request is wrong in one field; the message begins with its name."""
    return ApiError(400, f"{param}: {message}", param=param, code="invalid_value")


def answer_for(error: AttemptError, *, prompt: str) -> ApiError:
    """What is told of an endpoint's refusal or fault; `prompt`: the field that holds one."""
    message = str(error)
    match error:
        case RefusedError():
            param = _parameter(error.detail) or prompt
            return ApiError(400, message, param=param, code="invalid_value")
        case TransientError(is_rate_limit=True):
            return ApiError(429, message, code="overloaded", retry_after_s=_RETRY_AFTER_S)
        case TransientError():
            return ApiError(503, message, code="unavailable", retry_after_s=_RETRY_AFTER_S)
        case DeadlineError():
            return ApiError(504, message, code="deadline_exceeded")
    return ApiError(500, message, code=error.code.lower())


def _parameter(detail: str) -> str | None:
    words = _QUOTED.sub("", detail)
    for pattern, name in _PARAMETERS:
        found = pattern.search(words)
        if found is not None:
            return name or found[0]
    return None


def _kind(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
