"""What a model server may do otherwise than it promises; by default nothing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb

Events = Iterable[pb.GenerateResponse]


class Busy(Protocol):
    """The server, as far as its tokens may depend on it."""

    num_running: int
    num_refused: int


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Quirk:
    """Each field is one thing to do otherwise."""

    # A method that it has not, a check that it leaves out.
    missing: str = ""
    # The method whose answers are no messages.
    unreadable: str = ""
    unchecked: str = ""
    # Which hang-ups leave a slot taken: "cancel" or "deadline".
    leak: str = ""
    is_serving: bool = True
    max_request_bytes: int = 64 * 2**20
    # Tokens take so long.
    pause_s: float = 0.0
    # Change what is said, or what of a request is heard, in place.
    describe: Callable[[pb.GetModelResponse], None] = _nothing
    tokenize: Callable[[pb.TokenizeRequest, pb.TokenizeResponse], None] = _nothing
    score: Callable[[pb.ScoreResponse], None] = _nothing
    hear: Callable[[pb.GenerateRequest], None] = _nothing
    # A status in place of an answer.
    refuse: Callable[[pb.GenerateRequest, Any], grpc.StatusCode | None] = _nothing
    # Another token in place of the one that was drawn.
    token: Callable[[int, pb.GenerateRequest, Busy], int] = lambda token, *_: token
    # Other events in place of one.
    say: Callable[[pb.GenerateResponse, pb.GenerateRequest], Events] = lambda event, _: (event,)
