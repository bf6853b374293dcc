"""What gRPC says of a server, or of a call that failed: what to look at, and what to do."""

from collections.abc import Callable
from typing import Final

import grpc

from harness.clients.faults import (
    BROKEN_STREAM,
    AttemptError,
    DeadlineError,
    RefusedError,
    TransientError,
)

# What gRPC says of a message over the other end's limit, which no second attempt makes shorter.
_TOO_LARGE: Final = "larger than max"
# What gRPC says of a server, by a part of it, and what to look at.
_NO_GRPC: Final = (
    "what answers there may not speak gRPC: the address of an OpenAI-compatible server begins "
    "with http:// and has a model beside it"
)
_CAUSES: Final = (
    ("Connection refused", "connection refused: nobody listens there"),
    ("No such file or directory", "nobody listens there: there is no such socket"),
    ("Domain name not found", "the name is not known"),
    ("DNS resolution failed", "the name is not known"),
    ("errors resolving", "the name is not known"),
    ("http1.x", _NO_GRPC),
    ("parsing HTTP/2", _NO_GRPC),
    ("Socket closed", _NO_GRPC),
    ("Connection reset", _NO_GRPC),
)
_OTHER_SERVICE: Final = ("UNIMPLEMENTED", "NOT_FOUND")


def explained(cause: str, other_service: str) -> str:
    """What is wrong with a server that is not serving, with what to look at where that is known.

    `other_service`: what is said of one that does not know the call.
    """
    causes = (*_CAUSES, *((sign, other_service) for sign in _OTHER_SERVICE))
    hint = next((meaning for sign, meaning in causes if sign in cause), None)
    return cause if hint is None else f"{hint} ({cause})"


def attempt_error(error: grpc.aio.AioRpcError, mask: Callable[[str], str] = str) -> AttemptError:
    """The fault of a call; `mask` is put over the server's words."""
    code, detail = error.code(), mask(error.details() or "")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in detail:
        return RefusedError(code.name, detail)
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}:
        return TransientError(code.name, detail)
    # We cancel by cancelling the task, which never gets here: the server hung up midway.
    if code is grpc.StatusCode.CANCELLED:
        return TransientError(BROKEN_STREAM, detail)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(code.name, detail)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return RefusedError(code.name, detail, is_of_one=True)
    return AttemptError(code.name, detail)
