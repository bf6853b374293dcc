"""All that the API promises, in the order in which it is tried."""

from typing import Final

from harness.conformance.expecting import expect_same
from harness.conformance.promise import Promise
from harness.conformance.promises_of_limits import ENDS, LIMITS
from harness.conformance.promises_of_refusals import REFUSALS
from harness.conformance.promises_of_results import RESULTS
from harness.conformance.promises_of_sampling import SAMPLING
from harness.conformance.promises_of_scores import SCORES
from harness.conformance.promises_of_search import SEARCH
from harness.conformance.promises_of_server import HEALTH, SERVER
from harness.conformance.promises_of_stream import STREAM
from harness.conformance.promises_of_text import TEXT
from harness.conformance.trial import Trial


async def _still_there(trial: Trial) -> str:
    observed = await trial.complete(trial.short(), "a completion, after all that was asked")
    expect_same("the completion, after all that was asked", observed.text, trial.plain.text)
    return "the first completion once more"


PROMISES: Final[tuple[Promise, ...]] = (
    HEALTH,
    *SERVER,
    *STREAM,
    *SAMPLING,
    *TEXT,
    *LIMITS,
    *SEARCH,
    *RESULTS,
    *SCORES,
    *REFUSALS,
    *ENDS,
    Promise(
        name="goes-on",
        right="after all that was asked, bad requests among it, the server answers as at first",
        attempt=_still_there,
        needs=("greedy", "deadline"),
    ),
)
