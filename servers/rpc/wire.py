"""Between protobuf messages and the values of servers/generation.py; fills in the defaults."""

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import FINISH_REASONS, MODES, OUTCOMES, PARTS

from harness_retrieval.abbreviations import Abbreviation
from harness_servers.errors import InvalidRequestError
from harness_servers.generation import (
    Delta,
    Event,
    Finished,
    GenerationRequest,
    Retrieval,
    RetrievalStep,
    Sampling,
    Started,
    Stopping,
)


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
                    channel=PARTS.number(event.part),
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
    mode = MODES.member(options.mode)
    if mode is None:
        raise InvalidRequestError(
            f"retrieval mode is {options.mode}; it has to be one of {MODES.listed()}"
        )
    default = Retrieval(mode=mode)
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
            mode=MODES.number(event.retrieval.mode),
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
        mode=MODES.number(event.mode),
        outcome=OUTCOMES.number(event.outcome),
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
        reason=FINISH_REASONS.number(event.reason),
        num_prompt_tokens=event.num_prompt_tokens,
        num_generated_tokens=event.num_generated_tokens,
        num_inserted_tokens=event.num_inserted_tokens,
        num_searches=event.num_searches,
        prefill_ns=event.prefill_ns,
        decode_ns=event.decode_ns,
        retrieval_ns=event.retrieval_ns,
    )
