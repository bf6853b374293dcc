"""Every error of the retrieval service, each naming its value and the status code of the call."""

from grpc import StatusCode
from harnessapi.rpc.interceptor import StatusError


class RetrievalError(StatusError):
    """What the caller of the service did, or asked for, cannot be done."""


class InvalidArgumentError(RetrievalError):
    """A value that no state of the service could accept."""

    status_code = StatusCode.INVALID_ARGUMENT


class DeadlinePassedError(RetrievalError):
    """The call's deadline has passed: nobody waits for the answer."""

    status_code = StatusCode.DEADLINE_EXCEEDED


class ContextNotFoundError(RetrievalError):
    """The context is not held, or holds less text than the offset says."""

    status_code = StatusCode.NOT_FOUND

    def __init__(self, context_id: str) -> None:
        super().__init__(f"context {context_id!r} is not held; open it with its full text")


class ContextTooLongError(RetrievalError):
    """The context would be longer than any context may be."""

    status_code = StatusCode.INVALID_ARGUMENT

    def __init__(self, context_id: str, num_characters: int, max_characters: int) -> None:
        super().__init__(
            f"context {context_id!r} would have {num_characters} characters, over {max_characters}"
        )
