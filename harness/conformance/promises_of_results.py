"""Promises of searches that come to nothing, or to more than may be inserted.

Each asks again what the model searched before, with an option changed.
"""

from collections.abc import Callable
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import OUTCOMES
from harnessapi.values import Mode, Outcome

from harness.conformance.expecting import expect, expect_same
from harness.conformance.observed_stream import ObservedStream
from harness.conformance.promise import Promise
from harness.conformance.promises_of_search import check_steps
from harness.conformance.trial import Trial
from harness.conformance.verdicts import NoOccasion, NotOffered

_NO_PATTERN: Final = "("


async def _invalid(trial: Trial) -> str:
    """The model's own query, as an abbreviation of what is no pattern."""

    def change(request: pb.GenerateRequest, query: str) -> None:
        request.retrieval.ClearField("abbreviations")
        request.retrieval.abbreviations.add(query=query, pattern=_NO_PATTERN)

    observed = await _search_again(trial, Mode.REGEX, change, f"the pattern {_NO_PATTERN}")
    step = observed.steps[0]
    expect_same("expanded_query", step.expanded_query, _NO_PATTERN)
    _expect_failed(trial, observed, Outcome.INVALID_QUERY)
    return f"INVALID_QUERY, and {_inserted(observed)!r} was inserted"


async def _limit(trial: Trial) -> str:
    def change(request: pb.GenerateRequest, _query: str) -> None:
        request.retrieval.max_searches = 0

    mode = next(iter(trial.searched))
    observed = await _search_again(trial, mode, change, "max_searches 0")
    _expect_failed(trial, observed, Outcome.LIMIT_REACHED)
    expect_same("Finished.num_searches", observed.finished.num_searches, 0)
    return f"LIMIT_REACHED, and {_inserted(observed)!r} was inserted"


async def _text(trial: Trial) -> str:
    """An empty text is searched: nothing is found, but in what the model wrote itself."""
    if not trial.model.search_channel.takes_searched_text:
        raise NotOffered("search_channel.takes_searched_text is not set")

    def change(request: pb.GenerateRequest, _query: str) -> None:
        request.retrieval.searched_text = ""

    mode = next(iter(trial.searched))
    observed = await _search_again(trial, mode, change, "searched_text ''")
    step = observed.steps[0]
    found = " ".join(step.inserted_text.split())
    if OUTCOMES.member(step.outcome) is Outcome.FOUND:
        written = " ".join(observed.text.partition(step.query)[0].split())
        expect(found in written, f"FOUND {found!r}, where an empty text was searched")
    return f"an empty text in the prompt's place, and {_inserted(observed)!r} was inserted"


async def _cut(trial: Trial) -> str:
    def change(request: pb.GenerateRequest, _query: str) -> None:
        request.retrieval.max_inserted_tokens = 1

    long = {
        mode: one for mode, one in trial.searched.items() if one.steps[0].num_inserted_tokens > 1
    }
    if not long:
        raise NoOccasion("no result has more than one token")
    observed = await _search_again(trial, next(iter(long)), change, "max_inserted_tokens 1")
    step = observed.steps[0]
    expect_same("num_inserted_tokens of a step", step.num_inserted_tokens, 1)
    expect(step.truncated, "truncated is not set where the result was cut")
    return "one token of the result, truncated"


async def _search_again(
    trial: Trial, mode: Mode, change: Callable[[pb.GenerateRequest, str], None], what: str
) -> ObservedStream:
    if mode not in trial.searched:
        raise NoOccasion(f"the model made no search by {mode}")
    before = trial.searched[mode]
    request = pb.GenerateRequest()
    request.CopyFrom(before.request)
    change(request, before.steps[0].query)
    observed = await trial.complete(request, what)
    check_steps(observed)
    expect(bool(observed.steps), f"{what}: no RetrievalStep, where there was one before")
    return observed


def _expect_failed(trial: Trial, observed: ObservedStream, outcome: Outcome) -> None:
    step = observed.steps[0]
    found = OUTCOMES.member(step.outcome)
    expect(found is outcome, f"outcome is {(found or Outcome.FOUND).name}, not {outcome.name}")
    failed = observed.request.retrieval
    text = (
        failed.failed_text
        if failed.HasField("failed_text")
        else trial.model.search_channel.failed_text
    )
    inserted = _inserted(observed)
    expect(text.strip() in inserted, f"{inserted!r} was inserted, not {text!r}")


def _inserted(observed: ObservedStream) -> str:
    """The text that the first search inserted."""
    texts = [delta.text for delta in observed.deltas if delta.channel == pb.CHANNEL_INSERTED]
    return texts[0] if texts else ""


_STEPS: Final = ("search-steps",)
RESULTS: Final = (
    Promise(
        name="search-invalid",
        right="a query that is no pattern is INVALID_QUERY, and the failed text is inserted",
        attempt=_invalid,
        needs=_STEPS,
    ),
    Promise(
        name="search-limit",
        right="past max_searches a query is LIMIT_REACHED, and the failed text is inserted",
        attempt=_limit,
        needs=_STEPS,
    ),
    Promise(
        name="search-text",
        right="with takes_searched_text, searched_text is searched in the place of the prompt",
        attempt=_text,
        needs=_STEPS,
    ),
    Promise(
        name="search-cut",
        right="no more than max_inserted_tokens are inserted, and truncated says so",
        attempt=_cut,
        needs=_STEPS,
    ),
)
