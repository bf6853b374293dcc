"""Promises of bad requests: each is refused with a status that says whose fault it is."""

from collections.abc import Callable
from functools import partial
from typing import Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.rpc.options import MAX_MESSAGE_BYTES

from harness.conformance.expecting import expect
from harness.conformance.observed_stream import MAX_BYTES, status_text
from harness.conformance.promise import Promise
from harness.conformance.trial import Trial
from harness.conformance.verdicts import BrokenPromise, NoOccasion, NotOffered

_INVALID: Final = (grpc.StatusCode.INVALID_ARGUMENT,)
_INVALID_OR_LARGE: Final = (*_INVALID, grpc.StatusCode.RESOURCE_EXHAUSTED)
_MOST: Final = 2**32 - 1
_MAX_IDS: Final = 4_000_000
Build = Callable[[Trial], pb.GenerateRequest]


def _sampling(trial: Trial, **options: float) -> pb.GenerateRequest:
    request = trial.short(1)
    request.sampling.CopyFrom(pb.SamplingOptions(**options))  # type: ignore[arg-type]
    return request


def _no_tokens(trial: Trial) -> pb.GenerateRequest:
    return pb.GenerateRequest(text=trial.prompt, stopping=pb.StoppingOptions(max_new_tokens=0))


def _no_prompt(trial: Trial) -> pb.GenerateRequest:
    request = trial.short(1)
    request.ClearField("text")
    return request


def _empty_prompt(trial: Trial) -> pb.GenerateRequest:
    request = trial.short(1)
    request.token_ids.CopyFrom(pb.TokenIds())
    return request


def _unknown_id(trial: Trial) -> pb.GenerateRequest:
    request = trial.short(1)
    request.token_ids.ids.append(trial.model.vocabulary_size)
    return request


def _long_prompt(trial: Trial) -> pb.GenerateRequest:
    most = trial.model.max_prompt_tokens
    if most >= _MAX_IDS:
        raise NoOccasion(f"a prompt may have {most} tokens: more are not sent")
    request = trial.short(1)
    request.token_ids.ids.extend((trial.prompt_ids[:1] or [0]) * (most + 1))
    return request


def _long_text(trial: Trial) -> pb.GenerateRequest:
    most = trial.model.max_prompt_tokens
    # Twice as many: a text that is longer may have fewer tokens than its parts.
    times = 2 * most // max(1, len(trial.prompt_ids)) + 2
    if times * (len(trial.prompt) + 1) > MAX_BYTES:
        raise NoOccasion(f"a prompt may have {most} tokens: more are not sent as a text")
    request = trial.short(1)
    request.text = " ".join([trial.prompt] * times)
    return request


def _large_message(trial: Trial) -> pb.GenerateRequest:
    request = trial.short(1)
    request.text = f"{trial.prompt} " * (MAX_MESSAGE_BYTES // (len(trial.prompt) + 1) + 1)
    return request


def _search(trial: Trial) -> pb.GenerateRequest:
    if trial.model.HasField("search_channel"):
        raise NotOffered("the model has a search channel")
    request = trial.short(1)
    request.retrieval.mode = retrieval_pb2.RETRIEVAL_MODE_REGEX
    return request


def _log_probs(trial: Trial) -> pb.GenerateRequest:
    most = trial.max_top_log_probs
    if most >= _MOST:
        raise NoOccasion("GetModel says more of max_top_log_probs than can be asked for")
    request = trial.short(1)
    request.top_log_probs = most + 1
    return request


async def _is_refused(
    trial: Trial, *, what: str, build: Build, codes: tuple[grpc.StatusCode, ...]
) -> str:
    observed = await trial.ask(build(trial), f"Generate with {what}")
    error = observed.error
    if error is None:
        raise BrokenPromise(f"{what}: it was answered with {', '.join(observed.kinds[:5])}")
    expect(error.code() in codes, f"{what}: {status_text(error)}")
    return status_text(error)


def _refusal(
    name: str,
    what: str,
    build: Build,
    codes: tuple[grpc.StatusCode, ...] = _INVALID,
    needs: tuple[str, ...] = ("event-order",),
) -> Promise:
    return Promise(
        name=f"refuses-{name}",
        right=f"{what} ends with {' or '.join(code.name for code in codes)}",
        attempt=partial(_is_refused, what=what, build=build, codes=codes),
        needs=needs,
    )


_WITH_FIELDS: Final = ("event-order", "model-fields")
REFUSALS: Final = (
    _refusal("temperature", "temperature -1", partial(_sampling, temperature=-1.0)),
    _refusal("top-p", "top_p 2", partial(_sampling, top_p=2.0)),
    _refusal("no-tokens", "max_new_tokens 0", _no_tokens),
    _refusal("empty-stop", "an empty stop string", lambda trial: trial.short(1, stop=[""])),
    _refusal("no-prompt", "no prompt", _no_prompt),
    _refusal("empty-prompt", "token_ids without an id", _empty_prompt),
    _refusal("unknown-id", "a token id of vocabulary_size", _unknown_id, needs=_WITH_FIELDS),
    _refusal(
        "long-prompt",
        "one token more than max_prompt_tokens",
        _long_prompt,
        _INVALID_OR_LARGE,
        _WITH_FIELDS,
    ),
    _refusal(
        "long-text",
        "a text of more than max_prompt_tokens",
        _long_text,
        _INVALID_OR_LARGE,
        _WITH_FIELDS,
    ),
    _refusal(
        "large-message",
        f"a message of over {MAX_MESSAGE_BYTES // 2**20} MiB",
        _large_message,
        _INVALID_OR_LARGE,
    ),
    _refusal("search", "retrieval for a model without a search channel", _search),
    _refusal("log-probs", "top_log_probs over max_top_log_probs", _log_probs),
)
