"""Promises of log-probabilities, where a server gives them."""

import itertools
import math
from collections.abc import Sequence
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb

from harness.conformance.expecting import expect, expect_ids
from harness.conformance.promise import Promise
from harness.conformance.promises_of_server import SCORE
from harness.conformance.trial import Trial

_NUM_TOP: Final = 5
# Above zero, or out of order, by no more than what single precision loses.
_ROUNDING: Final = 1e-4
# Between decoding and reading the same tokens, also in half precision.
_TOLERANCE: Final = 0.05


async def _log_probs(trial: Trial) -> str:
    most = min(_NUM_TOP, trial.max_top_log_probs)
    for num_top in sorted({0, most}):
        given = await _given(trial, num_top)
        for one in given:
            _check(one, num_top)
    return f"{len(given)} tokens, {most} likeliest of each"


async def _given(trial: Trial, num_top: int) -> list[pb.TokenLogProb]:
    """One for each generated token."""
    request = trial.short()
    request.top_log_probs = num_top
    observed = await trial.complete(request, f"top_log_probs {num_top}")
    given = [one for delta in observed.deltas for one in delta.log_probs]
    ids = [one.token_id for one in given]
    expect_ids("the ids of log_probs and those generated", ids, observed.generated_ids)
    return given


def _check(one: pb.TokenLogProb, num_top: int) -> None:
    """Raises BrokenPromise for what is no log-probability, or no list of the likeliest."""
    told = f"log_prob {one.log_prob:.4f} of token {one.token_id}"
    expect(one.HasField("log_prob"), f"token {one.token_id} has no log_prob")
    values = [top.log_prob for top in one.top]
    expect(_are_log_probs([one.log_prob, *values]), f"{told}, top {values}"[:200])
    expect(len(values) <= num_top, f"{len(values)} in top, of top_log_probs {num_top}")
    expect(num_top == 0 or bool(values), f"no top, of top_log_probs {num_top}")
    pairs = itertools.pairwise(values)
    expect(all(b <= a + _ROUNDING for a, b in pairs), f"top is not sorted: {values}")
    of_it = [top.log_prob for top in one.top if top.token_id == one.token_id]
    expect(not of_it or abs(of_it[0] - one.log_prob) < _ROUNDING, f"{told}, in top {of_it}")
    if values:
        expect(one.log_prob > values[0] - _TOLERANCE, f"{told} is greedy, and top {values[0]:.4f}")


def _are_log_probs(values: Sequence[float]) -> bool:
    return all(math.isfinite(value) and value <= _ROUNDING for value in values)


async def _score_agrees(trial: Trial) -> str:
    given = await _given(trial, 0)
    ids = [one.token_id for one in given]
    request = pb.ScoreRequest(
        token_ids=pb.TokenIds(ids=trial.prompt_ids), continuation_ids=pb.TokenIds(ids=ids)
    )
    answer = await trial.call("Score of a completion", trial.stub.Score(request))
    expect_ids("prompt_token_ids", list(answer.prompt_token_ids), trial.prompt_ids)
    expect_ids("the tokens scored", [one.token_id for one in answer.tokens], ids)
    for told, scored in zip(given, answer.tokens, strict=True):
        expect(
            scored.HasField("log_prob") and abs(scored.log_prob - told.log_prob) < _TOLERANCE,
            f"token {told.token_id}: Generate {told.log_prob:.4f}, Score {scored.log_prob:.4f}",
        )
    return f"{len(ids)} tokens within {_TOLERANCE}"


SCORES: Final = (
    Promise(
        name="log-probs",
        right="with top_log_probs each generated token has its log_prob, at most 0, and as many "
        "of the likeliest at most, sorted; the greedy token is the first of them",
        attempt=_log_probs,
        needs=("greedy", "counts"),
    ),
    SCORE,
    Promise(
        name="score-agrees",
        right="Score gives a completion the log-probabilities that Generate gave it",
        attempt=_score_agrees,
        needs=("log-probs", "Score"),
    ),
)
