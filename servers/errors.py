"""What can go wrong while serving, as one tree; servers/status_codes.py maps it to gRPC."""


class ServingError(Exception):
    """The root: its text names the value that was wrong and may be shown to a client."""


class CheckpointError(ServingError):
    """A checkpoint is missing, incomplete, corrupt or of an unknown kind."""


class MissingExtraError(ServingError):
    """What a backend needs is not installed; the text names the extra."""


class InvalidRequestError(ServingError):
    """A request asks for something that this model cannot do, now or later."""


class QueueFullError(ServingError):
    """More requests wait than the queue holds; the call may be made again later."""


class UnavailableError(ServingError):
    """The engine, or the retrieval service that it needs, is gone; the call may be made again."""
