"""Promises of searches, where a model has a search channel and makes use of it."""

from typing import Any, Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import MODES, OUTCOMES
from harnessapi.values import Mode, Outcome

from harness.conformance.expecting import expect, expect_same
from harness.conformance.observed_stream import ObservedStream
from harness.conformance.promise import Promise
from harness.conformance.promises_of_stream import check_generated
from harness.conformance.trial import Trial
from harness.conformance.verdicts import NoOccasion, NotOffered
from harness.conformance.wordings import searching_requests

_DEFAULTS: Final = {
    "max_searches": 1024,
    "max_inserted_tokens": 64,
    "top_k": 1,
    "result_prefix": "",
    "result_suffix": "",
}
_ASKED: Final[dict[str, Any]] = {
    "max_searches": 3,
    "max_inserted_tokens": 5,
    "top_k": 2,
    "result_prefix": "",
    "result_suffix": "",
    "failed_text": "",
}
_NOTHING: Final[dict[str, Any]] = {}
# What a search that was really made comes to; the others need none.
_SEARCHED: Final = {Outcome.FOUND, Outcome.NOT_FOUND, Outcome.TOO_COSTLY}


def _modes(trial: Trial) -> list[Mode]:
    if not trial.model.HasField("search_channel"):
        raise NotOffered("GetModel has no search_channel")
    known = (MODES.member(number) for number in trial.model.search_channel.modes)
    return [mode for mode in known if mode is not None]


async def _options(trial: Trial) -> str:
    modes = _modes(trial)
    for mode in modes:
        for asked in (_NOTHING, _ASKED):
            request = trial.short(1)
            number = MODES.number(mode)
            request.retrieval.CopyFrom(pb.RetrievalOptions(mode=number, **asked))
            started = await trial.begin(request, f"retrieval, mode {mode}")
            expect(started.HasField("retrieval"), f"mode {mode}: Started.retrieval is not set")
            expect_same("Started.retrieval.mode", started.retrieval.mode, number)
            for name, value in {**_DEFAULTS, **asked}.items():
                found = getattr(started.retrieval, name)
                expect_same(f"mode {mode}: Started.retrieval.{name}", found, value)
    return f"taken and repeated, modes {', '.join(modes)}"


async def _steps(trial: Trial) -> str:
    """Learns a completion with a search for each mode."""
    modes = _modes(trial)
    num_asked = 0
    for mode in modes:
        for request in searching_requests(trial.model, mode):
            num_asked += 1
            observed = await trial.ask(request, f"a prompt that promises a search, {mode}")
            if observed.error is not None:
                continue  # its words, or its length, may not be this model's
            check_steps(observed)
            if observed.steps:
                trial.searched[mode] = observed
                break
    if not trial.searched:
        raise NoOccasion(f"the model searched in none of {num_asked} prompts that promise it")
    found = (f"{len(one.steps)} by {mode}" for mode, one in trial.searched.items())
    return f"searches: {', '.join(found)}"


def check_steps(observed: ObservedStream) -> None:
    """Raises BrokenPromise where a step lacks its query, or its result, or has another mode."""
    expect_same("the last event", (observed.kinds or ["nothing"])[-1], "finished")
    owed = 0
    channel = pb.CHANNEL_UNSPECIFIED
    for event in observed.events:
        kind = event.WhichOneof("event")
        is_inserted = kind == "delta" and event.delta.channel == pb.CHANNEL_INSERTED
        if is_inserted:
            owed -= event.delta.num_tokens
            expect(owed >= 0, f"{-owed} tokens were inserted without a RetrievalStep before")
        else:
            expect(owed == 0, f"{owed} tokens of a RetrievalStep do not follow it as a Delta")
        if kind == "retrieval_step":
            step = event.retrieval_step
            expect(channel == pb.CHANNEL_QUERY, "no query stands before a RetrievalStep")
            expect(OUTCOMES.member(step.outcome) is not None, f"outcome is {step.outcome}")
            expect_same("mode of a RetrievalStep", step.mode, observed.request.retrieval.mode)
            owed = step.num_inserted_tokens
        elif kind == "delta" and (event.delta.text or is_inserted):
            channel = event.delta.channel


async def _counts(trial: Trial) -> str:
    told = ""
    for mode, observed in trial.searched.items():
        check_generated(observed)
        finished, steps = observed.finished, observed.steps
        inserted = sum(step.num_inserted_tokens for step in steps)
        expect_same(f"{mode}: Finished.num_inserted_tokens", finished.num_inserted_tokens, inserted)
        least = sum(OUTCOMES.member(step.outcome) in _SEARCHED for step in steps)
        told = f"{mode}: Finished.num_searches is {finished.num_searches}, of {len(steps)} steps"
        expect(least <= finished.num_searches <= len(steps), told)
    return told


async def _found(trial: Trial) -> str:
    """What was found stands in the context: words, whatever white space is between them."""
    found = ""
    for observed in trial.searched.values():
        context = _asked_text(observed.request)
        for event in observed.events:
            context += event.delta.text
            step = event.retrieval_step
            if OUTCOMES.member(step.outcome) is Outcome.FOUND and not step.truncated:
                found = " ".join(step.inserted_text.split())
                expect(bool(found), "outcome FOUND without inserted_text")
                expect(found in " ".join(context.split()), f"FOUND {found!r}, not in the context")
    if not found:
        raise NoOccasion("none of the model's searches found anything")
    return f"{found!r} stands in the context"


def _asked_text(request: pb.GenerateRequest) -> str:
    if request.HasField("messages"):
        return " ".join(message.content for message in request.messages.messages)
    return request.text


_STEPS: Final = ("search-steps",)
SEARCH: Final = (
    Promise(
        name="search-options",
        right="every mode of the search channel is taken, and Started says the options in force",
        attempt=_options,
        needs=("event-order", "model-fields"),
    ),
    Promise(
        name="search-steps",
        right="a query is followed by its RetrievalStep, and that by what it inserted, as a Delta",
        attempt=_steps,
        needs=("search-options",),
    ),
    Promise(
        name="search-counts",
        right="num_inserted_tokens and num_searches of Finished are those of the steps",
        attempt=_counts,
        needs=_STEPS,
    ),
    Promise(
        name="search-found",
        right="what a search FOUND stands in the context",
        attempt=_found,
        needs=_STEPS,
    ),
)
