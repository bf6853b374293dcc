"""Between protobuf messages and the values of `harness_servers.generation`.

Most fields have the same name on both sides and are not listed here: only what differs is.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import FINISH_REASONS, MODES, OUTCOMES, PARTS

from harness_retrieval.abbreviations import Abbreviation
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import (
    Delta,
    Event,
    Finished,
    Retrieval,
    RetrievalStep,
    Sampling,
    Scored,
    Started,
    Stopping,
    TokenLogProb,
)

_Options = TypeVar("_Options", Sampling, Stopping, Retrieval)
_NAMES: Final[dict[type[Any], tuple[str, ...]]] = {
    kind: tuple(field.name for field in fields(kind))
    for kind in (Sampling, Stopping, Retrieval, RetrievalStep, Finished)
}


def read_sampling(options: pb.SamplingOptions) -> Sampling:
    """With its defaults."""
    return _read(Sampling, options)


def read_stopping(options: pb.StoppingOptions) -> Stopping:
    """With its defaults."""
    return _read(Stopping, options, stop=tuple(options.stop))


def read_retrieval(options: pb.RetrievalOptions) -> Retrieval:
    """With its defaults. Raises InvalidRequestError for an unknown mode, a wrong abbreviation."""
    mode = MODES.member(options.mode)
    if mode is None:
        raise InvalidRequestError(
            f"retrieval mode is {options.mode}; it has to be one of {MODES.listed()}"
        )
    try:
        abbreviations = tuple(
            Abbreviation(query=one.query, pattern=one.pattern) for one in options.abbreviations
        )
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    return _read(Retrieval, options, mode=mode, abbreviations=abbreviations)


def write_event(event: Event, token_name: Callable[[int], str]) -> pb.GenerateResponse:
    """One event as one message of the stream; a score is none."""
    match event:
        case Delta():
            delta = pb.Delta(
                channel=PARTS.number(event.part),
                text=event.text,
                token_ids=event.token_ids,
                num_tokens=len(event.token_ids),
                log_probs=[write_log_prob(one, token_name) for one in event.log_probs],
            )
            return pb.GenerateResponse(delta=delta)
        case Started():
            return pb.GenerateResponse(started=_write_started(event))
        case RetrievalStep():
            numbers = {"mode": MODES.number(event.mode), "outcome": OUTCOMES.number(event.outcome)}
            return pb.GenerateResponse(
                retrieval_step=pb.RetrievalStep(**_same_fields(event) | numbers)
            )
        case Finished():
            reason = FINISH_REASONS.number(event.reason)
            return pb.GenerateResponse(
                finished=pb.Finished(**_same_fields(event) | {"reason": reason})
            )
        case Scored():
            raise RuntimeError("a score came for a completion that the model was to write")


def write_log_prob(value: TokenLogProb, token_name: Callable[[int], str]) -> pb.TokenLogProb:
    """With the names of its tokens."""
    return pb.TokenLogProb(
        token_id=value.token_id,
        token=token_name(value.token_id),
        log_prob=value.log_prob,
        top=[
            pb.TopLogProb(token_id=token, token=token_name(token), log_prob=log_prob)
            for token, log_prob in value.top
        ],
    )


def _write_started(event: Started) -> pb.Started:
    retrieval = None
    if event.retrieval is not None:
        options = _same_fields(event.retrieval)
        options["mode"] = MODES.number(event.retrieval.mode)
        options["searched_text"] = None  # as long as the prompt
        options["abbreviations"] = [
            pb.Abbreviation(query=one.query, pattern=one.pattern)
            for one in event.retrieval.abbreviations
        ]
        retrieval = pb.RetrievalOptions(**options)
    return pb.Started(
        num_prompt_tokens=len(event.prompt_ids),
        prompt_token_ids=event.prompt_ids,
        queue_ns=event.queue_ns,
        sampling=pb.SamplingOptions(**_same_fields(event.sampling)),
        stopping=pb.StoppingOptions(**_same_fields(event.stopping)),
        retrieval=retrieval,
        num_cached_tokens=event.num_cached_tokens,
    )


def _read(kind: type[_Options], message: Message, **differing: Any) -> _Options:
    """The fields that are set; the others, apart from the differing ones, have their defaults."""
    same = {
        name: getattr(message, name)
        for name in _NAMES[kind]
        if name not in differing and message.HasField(name)
    }
    return kind(**same, **differing)


def _same_fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _NAMES[type(value)]}
