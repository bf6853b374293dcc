"""Promises of the server as such: health, its methods, and what it says of its model."""

import asyncio
import re
from typing import Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import MODES
from harnessapi.rpc.probe import why_not_serving
from harnessapi.values import Markers

from harness.conformance.expecting import expect, expect_same
from harness.conformance.observed_stream import readable, status_text
from harness.conformance.promise import Promise
from harness.conformance.trial import Trial, ended
from harness.conformance.verdicts import BrokenPromise
from harness.conformance.wordings import texts_for
from harness.way import Style

_NOT_YET: Final = {"NOT_SERVING", "UNKNOWN"}
_POLL_S: Final = 0.2
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_STATED: Final = 2**40
# Numbers that cannot be zero.
_COUNTS: Final = ("num_parameters", "vocabulary_size", "num_slots", "max_prompt_tokens")


async def _health(trial: Trial) -> str:
    """A server that is still warming up is waited for."""
    trial.doing = "Health/Check"
    while said := await why_not_serving(trial.channel, timeout_s=trial.wait_s):
        expect(said in _NOT_YET, f"Health/Check: {said}")
        trial.doing = f"SERVING; Health/Check says {said}"
        await asyncio.sleep(_POLL_S)
    return "SERVING"


async def _get_model(trial: Trial) -> str:
    trial.model = await trial.describe()
    return f"answered, as {trial.model.name!r}"


async def _fields(trial: Trial) -> str:
    faults = _faults(trial.model)
    expect(not faults, "; ".join(faults))
    name = pb.ModelFamily.Name(trial.model.family).removeprefix("MODEL_FAMILY_")
    return f"{name}, {trial.model.num_slots} at once, prompts of {trial.model.max_prompt_tokens}"


def _faults(model: pb.GetModelResponse) -> list[str]:
    """What is missing in GetModel, or cannot be: each named."""
    missing = [name for name in ("name", "engine") if not getattr(model, name).strip()]
    missing += [name for name in _COUNTS if not getattr(model, name)]
    faults = [f"{name} is not set" for name in missing]
    numbers = (*_COUNTS, "context_limit", "max_new_tokens", "state_bytes", "state_bytes_per_token")
    faults += [
        f"{name} is {getattr(model, name)}"
        for name in numbers
        if getattr(model, name) > _MAX_STATED
    ]
    if model.family not in pb.ModelFamily.values() or not model.family:
        faults.append(f"family is {model.family}")
    if not _SHA256.fullmatch(model.checkpoint_digest):
        faults.append(f"checkpoint_digest is {model.checkpoint_digest[:80]!r}, no SHA-256 in hex")
    if model.HasField("context_limit") and model.context_limit < 2:
        faults.append(f"context_limit is {model.context_limit}")
    if not {*model.styles} & {*Style}:
        faults.append(f"styles has none of {', '.join(Style)}")
    if model.HasField("search_channel"):
        faults += _channel_faults(model.search_channel)
    return faults


def _channel_faults(channel: pb.SearchChannel) -> list[str]:
    faults = []
    try:
        Markers(start=channel.start_marker, end=channel.end_marker)
    except ValueError as error:
        faults.append(f"search_channel: {error}")
    if not any(MODES.member(mode) for mode in channel.modes):
        faults.append(f"search_channel.modes has none of {MODES.listed()}")
    if not channel.failed_text:
        faults.append("search_channel.failed_text is not set")
    return faults


async def _steady(trial: Trial) -> str:
    again = await trial.describe()
    for field in pb.GetModelResponse.DESCRIPTOR.fields:
        one, other = getattr(trial.model, field.name), getattr(again, field.name)
        expect(one == other, f"{field.name} is {one!s:.60}, and a second time {other!s:.60}")
    return "twice the same"


async def _tokenize(trial: Trial) -> str:
    """Learns which of our texts this vocabulary has."""
    refused = ""
    for text in texts_for(trial.model):
        trial.doing = "Tokenize"
        try:
            answer = readable(await trial.stub.Tokenize(pb.TokenizeRequest(text=text)), "Tokenize")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise ended("Tokenize", error) from None
            refused = f"{text!r}: {status_text(error)}"
            continue
        expect(bool(answer.token_ids), f"no token ids for {text!r}")
        trial.prompt, trial.tokenized = text, answer
        return f"{len(answer.token_ids)} tokens for {text!r}"
    raise BrokenPromise(f"refused every text, the last one {refused}")


async def _generate(trial: Trial) -> str:
    """Learns the prompt's ids, and a completion that others are compared with."""
    texts = [trial.prompt] if trial.prompt else texts_for(trial.model)
    for text in texts:
        trial.prompt = text
        observed = await trial.ask(trial.short())
        error = observed.error
        if error is None:
            trial.plain = observed
            return f"{len(observed.events)} messages, then OK"
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT or text is texts[-1]:
            raise ended("Generate", error)
    raise BrokenPromise("there was no text to ask")


async def _score(trial: Trial) -> str:
    _ = trial.max_top_log_probs
    ids = pb.TokenIds(ids=trial.prompt_ids)
    request = pb.ScoreRequest(token_ids=ids, continuation_ids=ids)
    answer = await trial.call("Score", trial.stub.Score(request))
    expect_same("the number of tokens scored", len(answer.tokens), len(trial.prompt_ids))
    return f"{len(answer.tokens)} tokens"


HEALTH: Final = Promise(
    name="health", right="grpc.health.v1 says SERVING for the service ''", attempt=_health
)
SERVER: Final = (
    Promise(name="GetModel", right="the method answers", attempt=_get_model),
    Promise(
        name="model-fields",
        right="name, engine, family, checkpoint_digest (SHA-256 in hex), num_parameters, "
        "vocabulary_size, num_slots, max_prompt_tokens and styles are set, and the markers, "
        "failed_text and modes of a search channel",
        attempt=_fields,
        needs=("GetModel",),
    ),
    Promise(
        name="model-steady",
        right="GetModel says the same each time",
        attempt=_steady,
        needs=("GetModel",),
    ),
    Promise(
        name="Tokenize",
        right="the method answers for a text of a style that GetModel names",
        attempt=_tokenize,
        needs=("GetModel",),
    ),
    Promise(
        name="Generate",
        right="the method answers such a text with a stream that ends with OK",
        attempt=_generate,
        needs=("GetModel",),
    ),
)
SCORE: Final = Promise(
    name="Score",
    right="the method answers where GetModel sets max_top_log_probs",
    attempt=_score,
    needs=("event-order",),
)
