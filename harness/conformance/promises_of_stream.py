"""Promises of one stream: the order of its events, its counts, and the options in force."""

from typing import Any, Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.rpc.enums import PARTS

from harness.conformance.expecting import expect, expect_same
from harness.conformance.observed_stream import ObservedStream
from harness.conformance.promise import Promise
from harness.conformance.trial import DEFAULT_MAX_NEW_TOKENS, Trial
from harness.conformance.verdicts import NoOccasion, NotOffered

_MOST: Final = 2**32 - 1
_SAMPLING: Final = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}
# Fractions that a float of 32 bits holds.
_DRAWN: Final[dict[str, Any]] = {"temperature": 0.5, "top_k": 5, "top_p": 0.75, "seed": 7}
_STOP: Final = "no model writes this"


async def _order(trial: Trial) -> str:
    """Learns the prompt's ids."""
    kinds = trial.plain.kinds
    expect_same("the first event", kinds[0] if kinds else "nothing", "started")
    for kind in ("started", "finished"):
        expect_same(f"the number of {kind} events", kinds.count(kind), 1)
    expect_same("the last event", kinds[-1], "finished")
    others = sorted({*kinds} - {"started", "delta", "finished"})
    expect(not others, f"without retrieval options there is {', '.join(others)}")
    trial.prompt_ids = list(trial.plain.started.prompt_token_ids)
    return f"Started, {len(kinds) - 2} Deltas, Finished"


async def _channels(trial: Trial) -> str:
    numbers = {delta.channel for delta in trial.plain.deltas}
    unknown = sorted(number for number in numbers if PARTS.member(number) is None)
    expect(not unknown, f"channel {', '.join(map(str, unknown))}")
    names = {PARTS.member(number) for number in numbers}
    expect("inserted" not in names, "CHANNEL_INSERTED without retrieval options")
    return ", ".join(sorted(str(name) for name in names)) or "no Delta"


async def _counts(trial: Trial) -> str:
    started, finished = trial.plain.started, trial.plain.finished
    num_prompt = len(started.prompt_token_ids)
    expect(num_prompt > 0, "Started.prompt_token_ids is empty")
    expect_same("Started.num_prompt_tokens", started.num_prompt_tokens, num_prompt)
    expect_same("Finished.num_prompt_tokens", finished.num_prompt_tokens, num_prompt)
    check_generated(trial.plain)
    expect_same("Finished.num_inserted_tokens", finished.num_inserted_tokens, 0)
    expect_same("Finished.num_searches", finished.num_searches, 0)
    most = trial.model.vocabulary_size
    high = [token for token in trial.plain.generated_ids if token >= most > 0]
    expect(not high, f"token id {high[:1]} was written, of a vocabulary of {most}")
    return f"{num_prompt} read, {finished.num_generated_tokens} written"


def check_generated(observed: ObservedStream) -> None:
    """Raises BrokenPromise where a Delta's ids or the sum of all are another number."""
    for delta in observed.deltas:
        expect_same("num_tokens of a Delta", delta.num_tokens, len(delta.token_ids))
    told = sum(delta.num_tokens for delta in observed.written)
    expect_same("Finished.num_generated_tokens", observed.finished.num_generated_tokens, told)


async def _defaults(trial: Trial) -> str:
    started = await trial.begin(pb.GenerateRequest(text=trial.prompt))
    stated = trial.model.max_new_tokens or DEFAULT_MAX_NEW_TOKENS
    most = min(DEFAULT_MAX_NEW_TOKENS, stated)
    _check_echo("Started.sampling", started.sampling, _SAMPLING)
    _check_echo("Started.stopping", started.stopping, {"max_new_tokens": most, "ignore_eos": False})
    expect(not started.HasField("retrieval"), "Started.retrieval is set, and was not asked for")
    return f"temperature 0, top_p 1, max_new_tokens {most}"


async def _options(trial: Trial) -> str:
    stopping = pb.StoppingOptions(max_new_tokens=3, stop=[_STOP], ignore_eos=True)
    request = pb.GenerateRequest(
        text=trial.prompt, sampling=pb.SamplingOptions(**_DRAWN), stopping=stopping
    )
    started = await trial.begin(request)
    _check_echo("Started.sampling", started.sampling, _DRAWN)
    told = {"max_new_tokens": 3, "ignore_eos": True}
    _check_echo("Started.stopping", started.stopping, told)
    expect_same("Started.stopping.stop", list(started.stopping.stop), [_STOP])
    return "as they were asked"


def _check_echo(where: str, message: Any, right: dict[str, Any]) -> None:
    for name, value in right.items():
        expect(message.HasField(name), f"{where}.{name} is not set, not {value}")
        expect_same(f"{where}.{name}", getattr(message, name), value)


async def _cut(trial: Trial) -> str:
    most = trial.model.max_new_tokens
    if not most:
        raise NotOffered("GetModel does not say max_new_tokens")
    if most >= _MOST:
        raise NoOccasion(f"GetModel says {most}, more than can be asked for")
    request = pb.GenerateRequest(
        text=trial.prompt, stopping=pb.StoppingOptions(max_new_tokens=_MOST)
    )
    started = await trial.begin(request, "a request for more tokens than there are for anybody")
    expect_same("Started.stopping.max_new_tokens", started.stopping.max_new_tokens, most)
    return f"{_MOST} were cut to {most}"


STREAM: Final = (
    Promise(
        name="event-order",
        right="one Started, Deltas, one Finished, and nothing after it",
        attempt=_order,
        needs=("Generate",),
    ),
    Promise(
        name="channels",
        right="every Delta is REASONING, QUERY, ANSWER, or INSERTED where searches were asked for",
        attempt=_channels,
        needs=("event-order",),
    ),
    Promise(
        name="counts",
        right="the tokens of Started, of all Deltas and of Finished are the same number, ids "
        "below vocabulary_size",
        attempt=_counts,
        needs=("event-order",),
    ),
    Promise(
        name="options",
        right="Started repeats the options that were asked for",
        attempt=_options,
        needs=("event-order",),
    ),
)
# Long completions, of which the beginning alone is looked at.
BEGINNINGS: Final = (
    Promise(
        name="defaults",
        right="Started says the options in force, defaults filled in",
        attempt=_defaults,
        needs=("cancel",),
    ),
    Promise(
        name="max-new-tokens",
        right="a request for more tokens than GetModel's max_new_tokens is cut to it, and Started "
        "says so",
        attempt=_cut,
        needs=("cancel",),
    ),
)
