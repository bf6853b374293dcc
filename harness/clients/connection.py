"""An open endpoint: asked with retries, and whether it is still the one that was opened."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from harnessapi.values import ModelDescription
from msgspec.structs import replace

from harness.clients.completion import Completion, CompletionRequest
from harness.clients.faults import AttemptError, RefusedError, TransientError
from harness.clients.model_client import ModelClient
from harness.endpoints.config import Endpoint
from harness.errors import EndpointLostError, HarnessError, InputError, UnreachableError
from harness.sample import Prompt

CONNECT_TIMEOUT_S: Final = 10.0
_Result = TypeVar("_Result")


class Server(Protocol):
    """The process of ours that a connection stands and falls with."""

    # Set once it will not come back: why.
    gave_up: HarnessError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Full jitter: the n-th wait is drawn from 0 to `initial_s` * 2^n, at most to `max_s`."""

    initial_s: float = 0.2
    max_s: float = 3.0

    def wait_s(self, num_failed: int, generator: random.Random) -> float:
        """The wait after so many failed attempts; never quite nothing."""
        ceiling = min(self.max_s, self.initial_s * 2 ** min(num_failed, 16))
        return generator.uniform(ceiling / 10, ceiling)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Seconds, and how to let them pass between two attempts; a test has one of its own."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """`server` is None where the server is not ours."""

    endpoint: Endpoint
    client: ModelClient
    model: ModelDescription
    server: Server | None
    backoff: Backoff = field(default_factory=Backoff)
    clock: Clock = field(default_factory=Clock)

    async def complete(
        self, request: CompletionRequest, *, deadline_s: float, generator: random.Random
    ) -> Completion:
        """One sample with retries: the completion says how many, and so does an AttemptError.

        Raises EndpointLostError where going on makes no sense.
        """
        with self.client.attempts(request) as attempt:
            completion, faults, backoff_ms = await self._retrying(
                attempt, deadline_s=deadline_s, generator=generator
            )
        if not faults:
            return completion
        times = replace(completion.times, backoff_ms=backoff_ms)
        return replace(completion, times=times, num_attempts=len(faults) + 1, faults=faults)

    async def count_tokens(self, prompt: Prompt, *, deadline_s: float) -> int:
        """How long the server finds a prompt; 0 where it does not say. Raises AttemptError."""
        num_tokens, *_ = await self._retrying(
            lambda left_s: self.client.count_tokens(prompt, timeout_s=left_s),
            deadline_s=deadline_s,
            generator=random.Random(prompt.text),
        )
        return num_tokens

    async def _retrying(
        self,
        attempt: Callable[[float], Awaitable[_Result]],
        *,
        deadline_s: float,
        generator: random.Random,
    ) -> tuple[_Result, tuple[str, ...], float]:
        """The result, the fault of each attempt before it, and the milliseconds between them.

        Attempts until there is a result, a permanent error, or `deadline_s` since the first; each
        is given the seconds that are left for it. Raises the error of the last one.
        """
        end = self.clock.now_s() + deadline_s
        left_s = deadline_s
        faults: list[str] = []
        backoff_ms = 0.0
        while True:
            try:
                return await attempt(left_s), tuple(faults), backoff_ms
            except AttemptError as error:
                last = error
            last.faults, last.backoff_ms = tuple(faults), backoff_ms
            left_s = end - self.clock.now_s()
            # A server that wants to be left alone for longer than there is time is not asked again.
            if not isinstance(last, TransientError) or left_s <= last.retry_after_s:
                raise last
            faults.append(str(last))
            # Jitter comes on top: all who were turned away at once would come back at once.
            wait_s = min(left_s, last.retry_after_s + self.backoff.wait_s(len(faults), generator))
            backoff_ms += wait_s * 1e3
            await self.clock.sleep(wait_s)
            if self.clock.now_s() < end:
                await self._check()
            left_s = end - self.clock.now_s()
            if left_s <= 0:  # The attempt that failed was the last: its fault is the error.
                last.backoff_ms = backoff_ms
                raise last

    async def _check(self) -> None:
        if self.server is not None and self.server.gave_up is not None:
            raise EndpointLostError(f"endpoint '{self.endpoint.name}': {self.server.gave_up}")
        if self.endpoint.external is not None:
            return  # It has no digest: asking more of a busy server tells nothing.
        try:
            model = await self.client.get_model()
        except AttemptError:
            return  # Not back yet: the next attempt will say so.
        if model.checkpoint_digest != self.model.checkpoint_digest:
            raise EndpointLostError(
                f"endpoint '{self.endpoint.name}' came back with another checkpoint: "
                f"{model.checkpoint_digest}, not {self.model.checkpoint_digest}"
            )


async def connect(
    endpoint: Endpoint, client: ModelClient, server: Server | None, *, timeout_s: float
) -> Connection:
    """Waits until it is healthy and asks what it serves.

    Raises InputError where it refuses us, else UnreachableError.
    """
    end = time.monotonic() + timeout_s
    while not await client.is_serving():
        if time.monotonic() > end:
            raise UnreachableError(
                f"endpoint '{endpoint.name}' ({endpoint.place}) is not healthy "
                f"after {timeout_s:.0f} s"
            )
        await asyncio.sleep(0.1)
    try:
        model = await client.get_model()
    except RefusedError as error:
        raise InputError(f"endpoint '{endpoint.name}' ({endpoint.place}): {error}") from None
    except AttemptError as error:
        raise UnreachableError(f"endpoint '{endpoint.name}' ({endpoint.place}): {error}") from None
    return Connection(endpoint=endpoint, client=client, model=model, server=server)
