"""How one attempt at a completion fails, and which failures are worth another attempt."""

from typing import Final

from harness.errors import HarnessError

# Too many requests a minute, or at once.
_RATE_LIMITS: Final = frozenset({"HTTP_429", "RESOURCE_EXHAUSTED"})
_OVERLOADS: Final = _RATE_LIMITS | {"HTTP_503", "HTTP_529"}
# The stream has no proper end; what was answered is none; what was answered cannot be stored.
BROKEN_STREAM: Final = "BROKEN_STREAM"
BAD_RESPONSE: Final = "BAD_RESPONSE"
NOT_STORABLE: Final = "NOT_STORABLE"


class AttemptError(HarnessError):
    """One attempt failed, the last one where there were several.

    `code` is the gRPC status, HTTP_ and the HTTP status, or a name of our own in the same style.
    """

    # Of the attempts before it; and the waiting between them all.
    faults: tuple[str, ...] = ()
    backoff_ms: float = 0.0
    # Nothing came to any other request of the endpoint either, as long as this one was tried.
    is_endpoints: bool = False
    # The end of what a server had sent, as it came; the key is masked.
    raw: str = ""
    # As it was sent along; empty where it was not.
    request_id: str = ""
    # Which address it came from, where an endpoint has several.
    address: str = ""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail

    @property
    def num_attempts(self) -> int:
        """All of them."""
        return len(self.faults) + 1


class TransientError(AttemptError):
    """UNAVAILABLE, RESOURCE_EXHAUSTED, or a stream that broke midway: try again.

    Over HTTP: see http_errors, and lost connections. `retry_after_s`: the server's wish. `is_away`:
    the endpoint itself may be gone; otherwise it is this one reply, and where it stays so, this one
    sample.
    """

    def __init__(
        self, code: str, detail: str, *, retry_after_s: float = 0.0, is_away: bool = True
    ) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s
        self.is_away = is_away

    @property
    def is_rate_limit(self) -> bool:
        """The endpoint takes requests, and wants fewer of them."""
        return self.code in _RATE_LIMITS

    @property
    def is_overload(self) -> bool:
        """The endpoint turns requests away, this one as any other."""
        return self.code in _OVERLOADS


class SilentError(TransientError):
    """Nothing came from one address of an endpoint for as long as there is, but from others."""


class DeadlineError(AttemptError):
    """A limit of time passed; `detail` says which."""


class FilteredError(AttemptError):
    """A filter of the endpoint keeps the prompt from its model, or the answer from us.

    That is the endpoint's answer: asked again it says the same.
    """


class RefusedError(AttemptError):
    """INVALID_ARGUMENT, or HTTP 4xx: the request is wrong and every one like it will be.

    `is_of_one`: only one like it; that others were taken before says that they will be again.
    `parameter`: the one that it is about, where the server says so.
    """

    exit_status = 2

    def __init__(
        self, code: str, detail: str, *, is_of_one: bool = False, parameter: str = ""
    ) -> None:
        super().__init__(code, detail)
        self.is_of_one = is_of_one
        self.parameter = parameter
