"""Promises of how tokens are drawn: greedy and seeded completions can be had again."""

import asyncio
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb

from harness.conformance.expecting import expect_ids, expect_same
from harness.conformance.observed_stream import ObservedStream
from harness.conformance.promise import Promise
from harness.conformance.trial import Trial

_NUM_AT_ONCE: Final = 3
_SEED: Final = 7


async def _greedy(trial: Trial) -> str:
    _expect_same(await trial.complete(trial.short()), trial.plain, "a second time")
    return f"{len(trial.plain.generated_ids)} tokens, twice the same"


async def _at_once(trial: Trial) -> str:
    what = f"{_NUM_AT_ONCE} completions at once"
    asked = (trial.complete(trial.short(), what) for _ in range(_NUM_AT_ONCE))
    for observed in await asyncio.gather(*asked):
        _expect_same(observed, trial.plain, f"one of {what}")
    return f"{what}, the same as alone"


async def _seed(trial: Trial) -> str:
    request = trial.short()
    request.sampling.CopyFrom(pb.SamplingOptions(temperature=1.0, seed=_SEED))
    first = await trial.complete(request, f"seed {_SEED}")
    _expect_same(await trial.complete(request, f"seed {_SEED}"), first, "a second time")
    return f"{len(first.generated_ids)} tokens, twice the same"


def _expect_same(found: ObservedStream, right: ObservedStream, what: str) -> None:
    expect_ids(f"{what} and first", found.generated_ids, right.generated_ids)
    expect_same(f"{what} the text", found.text, right.text)


SAMPLING: Final = (
    Promise(
        name="greedy",
        right="at temperature 0, the default, the same prompt has the same completion",
        attempt=_greedy,
        needs=("event-order",),
    ),
    Promise(
        name="at-once",
        right="a completion does not depend on what else is running",
        attempt=_at_once,
        needs=("greedy",),
    ),
    Promise(
        name="seed",
        right="a completion that is drawn with a seed is drawn alike again",
        attempt=_seed,
        needs=("event-order",),
    ),
)
