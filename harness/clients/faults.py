"""How one attempt at a completion fails, and which failures are worth another attempt."""

from harness.errors import HarnessError


class AttemptError(HarnessError):
    """One attempt failed, the last one where there were several.

    `code` is the gRPC status, HTTP_ and the HTTP status, or a name of our own in the same style.
    """

    # Of the attempts before it; and the waiting between them all.
    faults: tuple[str, ...] = ()
    backoff_ms: float = 0.0

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

    Over HTTP: 429, 502, 503, 504 and lost connections. `retry_after_s`: the server's wish.
    """

    def __init__(self, code: str, detail: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class DeadlineError(AttemptError):
    """The deadline of the sample passed."""


class RefusedError(AttemptError):
    """INVALID_ARGUMENT, or HTTP 4xx: the request is wrong and every one like it will be."""

    exit_status = 2
