"""One Generate stream as it came: its events within bounds, and how it ended."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb

from harness.conformance.verdicts import BrokenPromise

_Message = TypeVar("_Message")
# A completion of the kit has some tens of tokens: whoever sends more of it than this never ends.
MAX_EVENTS: Final = 10_000
MAX_BYTES: Final = 16 * 2**20


@dataclass(kw_only=True, slots=True)
class ObservedStream:
    """What was asked and all that came; `error` is None where the stream ended with OK."""

    request: pb.GenerateRequest
    events: list[pb.GenerateResponse] = field(default_factory=list)
    error: grpc.aio.AioRpcError | None = None
    num_bytes: int = 0

    def add(self, event: pb.GenerateResponse | None) -> None:
        """Raises BrokenPromise past the bounds, and for what could not be read."""
        event = readable(event, "Generate")
        self.events.append(event)
        self.num_bytes += event.ByteSize()
        if len(self.events) > MAX_EVENTS or self.num_bytes > MAX_BYTES:
            raise BrokenPromise(
                f"a completion of at most {self.request.stopping.max_new_tokens} tokens had "
                f"{len(self.events)} messages of {self.num_bytes} bytes and went on"
            )

    @property
    def kinds(self) -> list[str]:
        """Of the events, in order; "nothing" for a message without one."""
        return [event.WhichOneof("event") or "nothing" for event in self.events]

    @property
    def started(self) -> pb.Started:
        """The first event."""
        return self.events[0].started

    @property
    def finished(self) -> pb.Finished:
        """The last event."""
        return self.events[-1].finished

    @property
    def deltas(self) -> list[pb.Delta]:
        """All of them."""
        return [one.delta for one in self.events if one.WhichOneof("event") == "delta"]

    @property
    def written(self) -> list[pb.Delta]:
        """What the model generated: all but what a search inserted."""
        return [delta for delta in self.deltas if delta.channel != pb.CHANNEL_INSERTED]

    @property
    def steps(self) -> list[pb.RetrievalStep]:
        """The searches."""
        of_kind = (e for e in self.events if e.WhichOneof("event") == "retrieval_step")
        return [event.retrieval_step for event in of_kind]

    @property
    def generated_ids(self) -> list[int]:
        """Of the model's own tokens."""
        return [token for delta in self.written for token in delta.token_ids]

    @property
    def text(self) -> str:
        """The completion."""
        return "".join(delta.text for delta in self.deltas)

    @property
    def answer(self) -> str:
        """The part of it that is the answer."""
        return texts_of(self.deltas, pb.CHANNEL_ANSWER)

    @property
    def reason(self) -> str:
        """Why it ended: `EOS`, `LENGTH`; the number where it is none that is known."""
        return reason_name(self.finished.reason)


def readable(message: _Message | None, what: str) -> _Message:
    """gRPC gives None for bytes that are no message of their type: raises BrokenPromise."""
    if message is None:
        raise BrokenPromise(f"{what} was answered with bytes that are no message of its type")
    return message


def texts_of(deltas: Iterable[pb.Delta], channel: int) -> str:
    """The text of one channel."""
    return "".join(delta.text for delta in deltas if delta.channel == channel)


def reason_name(number: int) -> str:
    """`EOS` for FINISH_REASON_EOS."""
    value = pb.FinishReason.DESCRIPTOR.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix("FINISH_REASON_")


def status_text(error: grpc.aio.AioRpcError) -> str:
    """`INVALID_ARGUMENT: the prompt is empty`."""
    details = error.details() or ""
    return f"{error.code().name}: {details}" if details else error.code().name
