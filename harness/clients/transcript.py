"""Puts the events of one Generate stream together into a Completion."""

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import FINISH_REASONS, MODES, OUTCOMES, PARTS
from harnessapi.values import FinishReason, Part

from harness.clients.completion import (
    COUNTS,
    Completion,
    CompletionTimes,
    SearchStep,
    TextPiece,
)
from harness.clients.faults import BROKEN_STREAM, DeadlineError, TransientError
from harness.clients.log_probs import read_log_probs
from harness.clients.scored_token import ScoredToken
from harness.clients.token_intervals import TokenIntervals


class Transcript:
    """Takes the events in order, with their time since sending; `completion` ends it.

    `has_log_probs`: they were asked for.
    """

    def __init__(self, *, has_log_probs: bool = False, request_id: str = "") -> None:
        self._has_log_probs = has_log_probs
        self._request_id = request_id
        self._log_probs: list[ScoredToken] = []
        self._started: pb.Started | None = None
        self._finished: pb.Finished | None = None
        self._pieces: list[tuple[Part, list[str]]] = []
        self._num_characters = 0
        self._searches: list[SearchStep] = []
        self._ttft_ms: float | None = None
        self._intervals = TokenIntervals()

    def add(self, event: pb.GenerateResponse, elapsed_ms: float) -> None:
        """Raises TransientError for an event out of order."""
        kind = event.WhichOneof("event")
        if (self._started is None) != (kind == "started") or self._finished is not None:
            raise TransientError(BROKEN_STREAM, f"{kind} out of order")
        if kind == "started":
            self._started = event.started
        elif kind == "delta":
            self._add_delta(event.delta, elapsed_ms)
        elif kind == "retrieval_step":
            self._searches.append(_search_step(event.retrieval_step, self._num_characters))
        elif kind == "finished":
            self._finished = event.finished

    def completion(self, total_ms: float) -> Completion:
        """Raises TransientError without a proper end, DeadlineError where the server gave up."""
        started, finished = self._started, self._finished
        if started is None or finished is None:
            raise TransientError(BROKEN_STREAM, "the stream ended without Finished")
        return Completion(
            prompt_token_ids=tuple(started.prompt_token_ids),
            transcript=tuple(
                TextPiece(part=part, text="".join(texts)) for part, texts in self._pieces
            ),
            searches=tuple(self._searches),
            log_probs=tuple(self._log_probs) if self._has_log_probs else None,
            request_id=self._request_id,
            finish_reason=_finish_reason(finished.reason),
            times=CompletionTimes(
                ttft_ms=self._ttft_ms,
                token_intervals=self._intervals.histogram(),
                total_ms=total_ms,
                **_milliseconds(started),
                **_milliseconds(finished),
            ),
            **{name: getattr(finished, name) for name in COUNTS},
        )

    def _add_delta(self, delta: pb.Delta, elapsed_ms: float) -> None:
        if self._has_log_probs:
            self._log_probs += read_log_probs(delta.log_probs)
        part = PARTS.member(delta.channel) or Part.REASONING
        # An inserted token is not the model's first, and a message without tokens is not a token.
        if delta.num_tokens and part is not Part.INSERTED:
            self._intervals.add(delta.num_tokens, elapsed_ms)
            if self._ttft_ms is None:
                self._ttft_ms = elapsed_ms
        if not delta.text:
            return
        self._num_characters += len(delta.text)
        if not self._pieces or self._pieces[-1][0] is not part:
            self._pieces.append((part, []))
        self._pieces[-1][1].append(delta.text)


def _milliseconds(message: pb.Started | pb.Finished) -> dict[str, float]:
    """Every `x_ns` of a message as `x_ms`."""
    return {
        f"{field.name.removesuffix('_ns')}_ms": getattr(message, field.name) / 1e6
        for field in message.DESCRIPTOR.fields
        if field.name.endswith("_ns")
    }


def _finish_reason(number: pb.FinishReason.ValueType) -> FinishReason:
    reason = FINISH_REASONS.member(number)
    if reason is FinishReason.DEADLINE:
        raise DeadlineError("DEADLINE_EXCEEDED", "the server stopped at the deadline")
    if reason is None or reason is FinishReason.CANCELLED:
        raise TransientError(BROKEN_STREAM, f"the server ended it as {reason or number}")
    return reason


def _search_step(step: pb.RetrievalStep, place: int) -> SearchStep:
    return SearchStep(
        query=step.query,
        expanded_query=step.expanded_query,
        mode=MODES.member(step.mode) or "",
        outcome=OUTCOMES.member(step.outcome) or "",
        inserted_text=step.inserted_text,
        detail=step.detail,
        elapsed_ms=step.elapsed_ns / 1e6,
        place=place,
        num_inserted_tokens=step.num_inserted_tokens,
        truncated=step.truncated,
    )
