"""Holds a server to every promise, one after the other, each within a bounded wait."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from harnessapi.rpc.dialing import IN_THE_CLEAR, Dialing
from harnessapi.rpc.probe import why_not_serving
from harnessapi.rpc.targets import Target

from harness.clients.grpc_client import OTHER_SERVICE
from harness.clients.grpc_errors import explained
from harness.conformance.all_promises import PROMISES
from harness.conformance.promise import Finding, Judgement, Promise, finding
from harness.conformance.trial import Trial
from harness.conformance.verdicts import BrokenPromise, NoOccasion, NotOffered
from harness.errors import UnreachableError

# For a promise: a model on a CPU may be slow.
WAIT_S: Final = 60.0
_GONE: Final = "UNAVAILABLE"
_PROBE_TIMEOUT_S: Final = 5.0


async def hold(
    target: Target,
    *,
    wait_s: float = WAIT_S,
    connect_timeout_s: float,
    dialing: Dialing = IN_THE_CLEAR,
    promises: Sequence[Promise] = PROMISES,
) -> AsyncGenerator[Finding]:
    """Each promise as it was found. Raises UnreachableError where there is no gRPC server."""
    trial = Trial(target, wait_s=wait_s, dialing=dialing)
    verdicts: dict[str, Judgement] = {}
    gone_since = ""
    try:
        await _reach(trial, target, connect_timeout_s)
        for promise in promises:
            if gone_since:
                why = f"the server is gone since {gone_since}"
                yield finding(promise, Judgement.NOT_TRIED, why)
                continue
            found = _untried(promise, verdicts) or await _try(promise, trial)
            verdicts[promise.name] = found.verdict
            yield found
            if found.verdict is Judgement.FAILED and await _is_gone(trial):
                gone_since = promise.name
    finally:
        await trial.close()


async def _reach(trial: Trial, target: Target, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await trial.channel.channel_ready()
    except TimeoutError:
        cause = await why_not_serving(trial.channel, timeout_s=_PROBE_TIMEOUT_S)
        raise UnreachableError(
            f"{target}: no connection after {timeout_s:g} s: "
            f"{explained(cause or 'it answers only now', OTHER_SERVICE)}"
        ) from None


def _untried(promise: Promise, verdicts: dict[str, Judgement]) -> Finding | None:
    """Where something that it needs was not kept."""
    for name in promise.needs:
        verdict = verdicts.get(name, Judgement.OK)
        if verdict is Judgement.NOT_OFFERED:
            return finding(promise, verdict, f"{name}: {verdict}")
        if verdict is not Judgement.OK:
            return finding(promise, Judgement.NOT_TRIED, f"{name}: {verdict}")
    return None


async def _try(promise: Promise, trial: Trial) -> Finding:
    try:
        async with asyncio.timeout(trial.wait_s) as limit:
            return finding(promise, Judgement.OK, await promise.attempt(trial))
    except BrokenPromise as error:
        return finding(promise, Judgement.FAILED, str(error))
    except NotOffered as error:
        return finding(promise, Judgement.NOT_OFFERED, str(error))
    except NoOccasion as error:
        return finding(promise, Judgement.NOT_TRIED, str(error))
    except TimeoutError:
        if not limit.expired():
            raise
        seen = f"waited {trial.wait_s:g} s for {trial.doing}: nothing came, or no end of it"
        return finding(promise, Judgement.FAILED, seen)


async def _is_gone(trial: Trial) -> bool:
    said = await why_not_serving(trial.channel, timeout_s=_PROBE_TIMEOUT_S) or ""
    return said.startswith(_GONE)
