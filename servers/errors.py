"""What can go wrong while serving, as one tree; each kind names the status code of its call."""

import logging

from grpc import StatusCode
from harnessapi.rpc.interceptor import StatusError

_log = logging.getLogger(__name__)


class ServingError(StatusError):
    """The root: its text names the value that was wrong and may be shown to a client."""


class CheckpointError(ServingError):
    """A checkpoint is missing, incomplete, corrupt or of an unknown kind."""


class InvalidRequestError(ServingError):
    """A request asks for something that this model cannot do, now or later."""

    status_code = StatusCode.INVALID_ARGUMENT


class QueueFullError(ServingError):
    """More requests wait than the queue holds; the call may be made again later."""

    status_code = StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(ServingError):
    """The engine, or the retrieval service that it needs, is gone; the call may be made again."""

    status_code = StatusCode.UNAVAILABLE


class OutOfTimeError(ServingError):
    """The call's deadline came before its answer, which is nothing by halves."""

    status_code = StatusCode.DEADLINE_EXCEEDED


class FailedError(ServingError):
    """One completion could not be followed; what went wrong is its own, and the server goes on."""

    status_code = StatusCode.INTERNAL


def failed(error: Exception) -> ServingError:
    """What a sequence ends with where following it raised an error, which is logged."""
    if isinstance(error, ServingError):
        return error
    _log.error("a completion failed", exc_info=error)
    return FailedError(f"the completion failed: {error!r}")
