"""Promises of how a completion ends: by its limit, a stop string, a deadline, or who asked."""

import asyncio
import contextlib
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb

from harness.conformance.expecting import expect, expect_same
from harness.conformance.observed_stream import (
    ObservedStream,
    readable,
    reason_name,
    status_text,
    texts_of,
)
from harness.conformance.promise import Promise
from harness.conformance.promises_of_stream import BEGINNINGS
from harness.conformance.trial import Trial
from harness.conformance.verdicts import BrokenPromise, NoOccasion

_DEADLINE_S: Final = 1.0
# Completions at once: more than most servers have slots, and few enough for any of them.
_MAX_AT_ONCE: Final = 128
# With a deadline a completion may also end by itself.
_REASONS: Final = {"DEADLINE", "EOS", "LENGTH", "CONTEXT_FULL"}
_IGNORING: Final = 24


async def _length(trial: Trial) -> str:
    for most in (1, 5):
        asked = f"max_new_tokens {most}"
        observed = await trial.complete(trial.short(most), asked)
        num_tokens = observed.finished.num_generated_tokens
        told = f"{asked}: {num_tokens} tokens, then {observed.reason}"
        is_eos = observed.reason == "EOS" and num_tokens <= most
        is_full = observed.reason == "CONTEXT_FULL" and trial.room <= most
        expect(is_eos or is_full or (observed.reason == "LENGTH" and num_tokens == most), told)
    return told


async def _ignore_eos(trial: Trial) -> str:
    request = trial.short(_IGNORING, ignore_eos=True)
    observed = await trial.complete(request, "ignore_eos")
    most, num_tokens = request.stopping.max_new_tokens, observed.finished.num_generated_tokens
    told = f"{num_tokens} tokens of {most}, then {observed.reason}"
    expect(observed.reason in {"LENGTH", "CONTEXT_FULL"} and num_tokens == most, told)
    return told


async def _stop(trial: Trial) -> str:
    """A word of the answer, to stop at."""
    plain = await trial.complete(trial.short(_IGNORING))
    stop, cuts = _stop_of(plain)
    cut = await trial.complete(trial.short(_IGNORING, stop=[stop]), f"stop {stop!r}")
    told = f"stop {stop!r}: the answer {cut.answer!r}; without it {plain.answer!r}"
    expect_same(f"stop {stop!r}: the reason", cut.reason, "STOP")
    expect(cut.answer in cuts, told)
    reasoning = [texts_of(one.deltas, pb.CHANNEL_REASONING) for one in (plain, cut)]
    expect_same(f"stop {stop!r}: the reasoning", reasoning[1], reasoning[0])
    return f"stop {stop!r}: {cut.answer!r}"


def _stop_of(plain: ObservedStream) -> tuple[str, set[str]]:
    """A stop string, and what may stand before it: the first word may mark the answer."""
    answer = plain.answer
    words = answer.split()
    if not words:
        raise NoOccasion(f"the model wrote no answer in {_IGNORING} tokens")
    behind = [word for word in words[1:] if word not in words[0]]
    stop = behind[-1] if behind else words[0][-1]
    marker_end = answer.index(words[0]) + len(words[0])
    places = {answer.index(stop), answer.find(stop, marker_end)} - {-1}
    return stop, {answer[:place] for place in places}


async def _slots(trial: Trial) -> str:
    async with _begun(trial, "at once (GetModel's num_slots)") as calls:
        return f"{len(calls)} began at once"


async def _cancel(trial: Trial) -> str:
    async with _begun(trial, "after others were cancelled") as calls:
        num_calls = len(calls)
        trial.doing = "more of a completion that had begun"
        await calls[0].read()
    after = f"a completion, after {num_calls} were cancelled"
    await trial.complete(trial.short(1), after)
    return f"{num_calls} were cancelled, the next was answered"


def _num_at_once(trial: Trial) -> int:
    """As many completions as there are slots, within bounds."""
    return max(1, min(trial.model.num_slots, _MAX_AT_ONCE))


@contextlib.asynccontextmanager
async def _begun(trial: Trial, when: str) -> Any:
    """Long completions that have begun, as many as there are slots; cancelled at the end."""
    num_calls = _num_at_once(trial)
    async with contextlib.AsyncExitStack() as stack:
        calls = [
            await stack.enter_async_context(trial.stream(trial.long())) for _ in range(num_calls)
        ]
        trial.doing = f"Started of {num_calls} completions {when}"
        try:
            await asyncio.gather(*(call.read() for call in calls))
        except grpc.aio.AioRpcError as error:
            raise BrokenPromise(f"one of {num_calls} at once: {status_text(error)}") from None
        yield calls


async def _deadline(trial: Trial) -> str:
    num_calls = _num_at_once(trial)
    trial.doing = f"the end of {num_calls} completions with a deadline of {_DEADLINE_S:g} s"
    ends = await asyncio.gather(*(_end(trial) for _ in range(num_calls)))
    await trial.complete(trial.short(1), f"a completion, after {num_calls} met their deadline")
    return f"{num_calls} ended with {', '.join(sorted({*ends}))}, the next was answered"


async def _end(trial: Trial) -> str:
    """How a long completion ends that has a deadline."""
    reason = "no Finished"
    async with trial.stream(trial.long(), timeout_s=_DEADLINE_S) as events:
        try:
            async for event in events:
                if readable(event, "Generate").WhichOneof("event") == "finished":
                    reason = reason_name(event.finished.reason)
        except grpc.aio.AioRpcError as error:
            expect(error.code() is grpc.StatusCode.DEADLINE_EXCEEDED, status_text(error))
            return "DEADLINE_EXCEEDED"
    expect(reason in _REASONS, f"it ended with {reason}")
    return reason


LIMITS: Final = (
    Promise(
        name="length",
        right="at most max_new_tokens tokens, then LENGTH, unless it ended with EOS",
        attempt=_length,
        needs=("event-order", "counts"),
    ),
    Promise(
        name="ignore-eos",
        right="with ignore_eos a completion goes on to max_new_tokens",
        attempt=_ignore_eos,
        needs=("length",),
    ),
    Promise(
        name="stop",
        right="the answer ends before the stop string, with STOP",
        attempt=_stop,
        needs=("channels", "greedy"),
    ),
)
# Last: where a server keeps what it should let go, nothing can be asked of it any more.
ENDS: Final = (
    Promise(
        name="slots",
        right="as many completions as GetModel's num_slots begin at once",
        attempt=_slots,
        needs=("event-order",),
    ),
    Promise(
        name="cancel",
        right="who hangs up frees the server: the next completion is answered",
        attempt=_cancel,
        needs=("slots",),
    ),
    *BEGINNINGS,
    Promise(
        name="deadline",
        right="a completion ends at its deadline, with DEADLINE or DEADLINE_EXCEEDED, and frees "
        "the server",
        attempt=_deadline,
        needs=("cancel",),
    ),
)
