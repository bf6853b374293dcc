"""Between protobuf messages and the values of servers/generation.py; fills in the defaults."""

from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2

from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode, Outcome
from harness_servers.backends.backend import ModelDescription
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import (
    Channel,
    Delta,
    Event,
    Finished,
    FinishReason,
    GenerationRequest,
    Retrieval,
    RetrievalStep,
    Sampling,
    Started,
    Stopping,
)

_FAMILIES: Final = {
    "rnn": pb.MODEL_FAMILY_RNN,
    "ssm": pb.MODEL_FAMILY_SSM,
    "transformer": pb.MODEL_FAMILY_TRANSFORMER,
    "hybrid": pb.MODEL_FAMILY_HYBRID,
}
_CHANNELS: Final = {
    Channel.REASONING: pb.CHANNEL_REASONING,
    Channel.QUERY: pb.CHANNEL_QUERY,
    Channel.INSERTED: pb.CHANNEL_INSERTED,
    Channel.ANSWER: pb.CHANNEL_ANSWER,
}
_REASONS: Final = {
    reason: pb.FinishReason.Value(f"FINISH_REASON_{reason.name}") for reason in FinishReason
}
_OUTCOMES: Final = {
    outcome: retrieval_pb2.SearchOutcome.Value(f"SEARCH_OUTCOME_{outcome.name}")
    for outcome in Outcome
}
_MODES: Final = {
    mode: retrieval_pb2.RetrievalMode.Value(f"RETRIEVAL_MODE_{mode.name}") for mode in Mode
}
_MODE_OF_VALUE: Final = {value: mode for mode, value in _MODES.items()}


def read_request(request: pb.GenerateRequest, deadline_s: float | None) -> GenerationRequest:
    """The request with its defaults. Raises InvalidRequestError for what has no value at all."""
    if request.WhichOneof("prompt") is None:
        raise InvalidRequestError("the prompt is missing: neither text nor token_ids is set")
    return GenerationRequest(
        text=request.text if request.HasField("text") else None,
        token_ids=tuple(request.token_ids.ids),
        sampling=_read_sampling(request.sampling),
        stopping=_read_stopping(request.stopping),
        retrieval=_read_retrieval(request.retrieval) if request.HasField("retrieval") else None,
        deadline_s=deadline_s,
    )


def write_event(event: Event) -> pb.GenerateResponse:
    """One event as one message of the stream."""
    match event:
        case Delta():
            return pb.GenerateResponse(
                delta=pb.Delta(
                    channel=_CHANNELS[event.channel],
                    text=event.text,
                    token_ids=event.token_ids,
                    num_tokens=len(event.token_ids),
                )
            )
        case Started():
            return pb.GenerateResponse(started=_write_started(event))
        case RetrievalStep():
            return pb.GenerateResponse(retrieval_step=_write_retrieval_step(event))
        case Finished():
            return pb.GenerateResponse(finished=_write_finished(event))


def write_description(model: ModelDescription) -> pb.GetModelResponse:
    """What is served."""
    channel = None
    if model.markers is not None:
        channel = pb.SearchChannel(
            start_marker=model.markers.start,
            end_marker=model.markers.end,
            failed_text=model.markers.failed,
            modes=[_MODES[mode] for mode in model.modes],
            passage_separator=model.markers.passage_separator,
        )
    return pb.GetModelResponse(
        name=model.name,
        family=_FAMILIES[model.family],
        checkpoint_digest=model.checkpoint_digest,
        tokenizer_digest=model.tokenizer_digest,
        num_parameters=model.num_parameters,
        state_bytes=model.state_bytes,
        state_bytes_per_token=model.state_bytes_per_token,
        context_limit=model.context_limit,
        engine=model.engine,
        engine_version=model.engine_version,
        dtype=model.dtype,
        device=model.device,
        vocabulary_size=model.vocabulary_size,
        num_slots=model.num_slots,
        max_prompt_tokens=model.max_prompt_tokens,
        search_channel=channel,
        styles=model.styles,
    )


def _read_sampling(options: pb.SamplingOptions) -> Sampling:
    default = Sampling()
    return Sampling(
        temperature=(
            options.temperature if options.HasField("temperature") else default.temperature
        ),
        top_k=options.top_k if options.HasField("top_k") else default.top_k,
        top_p=options.top_p if options.HasField("top_p") else default.top_p,
        seed=options.seed if options.HasField("seed") else default.seed,
    )


def _read_stopping(options: pb.StoppingOptions) -> Stopping:
    default = Stopping()
    has_maximum = options.HasField("max_new_tokens")
    return Stopping(
        max_new_tokens=options.max_new_tokens if has_maximum else default.max_new_tokens,
        stop=tuple(options.stop),
        ignore_eos=options.ignore_eos,
    )


def _read_retrieval(options: pb.RetrievalOptions) -> Retrieval:
    if options.mode not in _MODE_OF_VALUE:
        raise InvalidRequestError(
            f"retrieval mode is {options.mode}; it has to be one of "
            + ", ".join(f"{value} ({mode.value})" for value, mode in _MODE_OF_VALUE.items())
        )
    default = Retrieval(mode=_MODE_OF_VALUE[options.mode])
    has_inserted = options.HasField("max_inserted_tokens")
    return Retrieval(
        mode=default.mode,
        max_searches=(
            options.max_searches if options.HasField("max_searches") else default.max_searches
        ),
        max_inserted_tokens=(
            options.max_inserted_tokens if has_inserted else default.max_inserted_tokens
        ),
        top_k=options.top_k if options.HasField("top_k") else default.top_k,
        abbreviations=tuple(_read_abbreviation(one) for one in options.abbreviations),
    )


def _read_abbreviation(message: pb.Abbreviation) -> Abbreviation:
    try:
        return Abbreviation(query=message.query, pattern=message.pattern)
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None


def _write_started(event: Started) -> pb.Started:
    retrieval = None
    if event.retrieval is not None:
        retrieval = pb.RetrievalOptions(
            mode=_MODES[event.retrieval.mode],
            max_searches=event.retrieval.max_searches,
            max_inserted_tokens=event.retrieval.max_inserted_tokens,
            top_k=event.retrieval.top_k,
            abbreviations=[
                pb.Abbreviation(query=one.query, pattern=one.pattern)
                for one in event.retrieval.abbreviations
            ],
        )
    return pb.Started(
        num_prompt_tokens=len(event.prompt_ids),
        prompt_token_ids=event.prompt_ids,
        queue_ns=event.queue_ns,
        sampling=pb.SamplingOptions(
            temperature=event.sampling.temperature,
            top_k=event.sampling.top_k,
            top_p=event.sampling.top_p,
            seed=event.sampling.seed,
        ),
        stopping=pb.StoppingOptions(
            max_new_tokens=event.stopping.max_new_tokens,
            stop=event.stopping.stop,
            ignore_eos=event.stopping.ignore_eos,
        ),
        retrieval=retrieval,
        num_cached_tokens=event.num_cached_tokens,
    )


def _write_retrieval_step(event: RetrievalStep) -> pb.RetrievalStep:
    return pb.RetrievalStep(
        query=event.query,
        expanded_query=event.expanded_query,
        mode=_MODES[event.mode],
        outcome=_OUTCOMES[event.outcome],
        inserted_text=event.inserted_text,
        num_inserted_tokens=event.num_inserted_tokens,
        start=event.start,
        end=event.end,
        score=event.score,
        detail=event.detail,
        elapsed_ns=event.elapsed_ns,
        truncated=event.truncated,
    )


def _write_finished(event: Finished) -> pb.Finished:
    return pb.Finished(
        reason=_REASONS[event.reason],
        num_prompt_tokens=event.num_prompt_tokens,
        num_generated_tokens=event.num_generated_tokens,
        num_inserted_tokens=event.num_inserted_tokens,
        num_searches=event.num_searches,
        prefill_ns=event.prefill_ns,
        decode_ns=event.decode_ns,
        retrieval_ns=event.retrieval_ns,
    )
