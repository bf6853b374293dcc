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
    "with http:// and has a model beside it; or it wants TLS, or a client_cert of ours"
)
NOT_LET_IN: Final = (
    grpc.StatusCode.UNAUTHENTICATED.name,
    grpc.StatusCode.PERMISSION_DENIED.name,
)
_CAUSES: Final = (
    ("UNAUTHENTICATED", "the server wants another token: see token_env and token_file"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is of none of the CAs that are trusted: see ca"),
    ("Hostname Verification Check failed", "its certificate is for another name: see server_name"),
    ("Tls handshake failed", "it and we agree on no TLS"),
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
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.RESOURCE_EXHAUSTED:
            fault: AttemptError = TransientError(code.name, detail)
        case grpc.StatusCode.CANCELLED:
            # We cancel by cancelling the task, which never gets here: the server hung up midway.
            fault = TransientError(BROKEN_STREAM, detail)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            fault = DeadlineError(code.name, detail)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            # Whoever is answered so is answered so in every request.
            fault = RefusedError(code.name, detail)
        case grpc.StatusCode.INVALID_ARGUMENT:
            fault = RefusedError(code.name, detail, is_of_one=True)
        case _:
            fault = AttemptError(code.name, detail)
    return fault
