"""An open endpoint: asked with retries, and whether it is still the one that was opened."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from harnessapi.values import ModelDescription
from msgspec.structs import replace

from harness.clients.attempt import Attempt
from harness.clients.clock import Backoff, Clock
from harness.clients.completion import Completion, CompletionRequest
from harness.clients.context_room import ContextRoom
from harness.clients.faults import AttemptError, FilteredError, RefusedError, TransientError
from harness.clients.model_client import ModelClient
from harness.clients.pace import Pace
from harness.endpoints.endpoint import Endpoint
from harness.errors import EndpointLostError, HarnessError, InputError, UnreachableError
from harness.sample import Prompt

CONNECT_TIMEOUT_S: Final = 10.0
_Result = TypeVar("_Result")


class Server(Protocol):
    """The process of ours that a connection stands and falls with."""

    # Set once it will not come back: why.
    gave_up: HarnessError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """`server` is None where the server is not ours."""

    endpoint: Endpoint
    client: ModelClient
    model: ModelDescription
    server: Server | None
    backoff: Backoff = field(default_factory=Backoff)
    room: ContextRoom = field(default_factory=ContextRoom)
    # Of the endpoint: all that it is asked goes through it, on its clock. By default at once.
    pace: Pace = field(default_factory=Pace)

    @property
    def clock(self) -> Clock:
        """That of the pace."""
        return self.pace.clock

    async def complete(
        self, request: CompletionRequest, *, deadline_s: float, generator: random.Random
    ) -> Completion:
        """One sample with retries: the completion says how many, and so does an AttemptError.

        Raises EndpointLostError where going on makes no sense.
        """
        sent = self.room.fitted(request)
        try:
            return await self._complete(sent, deadline_s, generator)
        except RefusedError as error:
            self.room.learn(error.detail, request.prompt)
            if self.room.fitted(request) == sent:
                raise
        return await self._complete(self.room.fitted(request), deadline_s, generator)

    async def _complete(
        self, request: CompletionRequest, deadline_s: float, generator: random.Random
    ) -> Completion:
        with self.client.attempts(request) as attempts:
            completion, faults, backoff_ms = await self._retrying(
                lambda attempt: attempts(None, attempt), deadline_s=deadline_s, generator=generator
            )
        if not faults:
            return completion
        times = replace(completion.times, backoff_ms=backoff_ms)
        return replace(completion, times=times, num_attempts=len(faults) + 1, faults=faults)

    async def count_tokens(self, prompt: Prompt, *, deadline_s: float) -> int:
        """How long the server finds a prompt; 0 where it does not say. Raises AttemptError."""

        async def count(attempt: Attempt) -> int:
            await attempt.sending()
            return await self.client.count_tokens(prompt, timeout_s=deadline_s)

        num_tokens, *_ = await self._retrying(
            count, deadline_s=deadline_s, generator=random.Random(prompt.text)
        )
        self.room.read(prompt, num_tokens)
        return num_tokens

    async def _retrying(
        self,
        ask: Callable[[Attempt], Awaitable[_Result]],
        *,
        deadline_s: float,
        generator: random.Random,
    ) -> tuple[_Result, tuple[str, ...], float]:
        """The result, the fault of each attempt before it, and the milliseconds between them.

        Attempts until there is a result, a permanent error, `deadline_s` of faults and waiting of
        its own, or as long without an answer to anybody. Raises the error of the last one.
        """
        began_s = self.clock.now_s()
        own_s = backoff_s = 0.0
        faults: list[str] = []
        while True:
            attempt = Attempt(self.pace, self.clock, deadline_s)
            asked_s = self.clock.now_s()
            try:
                result = await self._once(attempt, ask)
            except AttemptError as error:
                last = error
            else:
                backoff_s += attempt.paced_s if faults else 0.0
                return result, tuple(faults), backoff_s * 1e3
            backoff_s += attempt.paced_s if faults else 0.0
            last.faults, last.backoff_ms = tuple(faults), backoff_s * 1e3
            if not isinstance(last, TransientError):
                raise last
            if not last.is_overload:
                own_s += self.clock.now_s() - asked_s - attempt.paced_s
            left_s = self._left_s(last, began_s, own_s, deadline_s)
            last.is_endpoints = self.pace.heard_at_s < began_s or last.retry_after_s >= deadline_s
            # A server that wants to be left alone for longer than there is time is not asked again.
            if left_s <= last.retry_after_s:
                raise last
            if not last.is_overload:
                # Jitter comes on top: all who failed at once would come back at once.
                own_wait_s = self.backoff.wait_s(len(faults) + 1, generator)
                wait_s = min(left_s, last.retry_after_s + own_wait_s)
                self.pace.failed(wait_s)
                own_s += wait_s
                backoff_s += wait_s
                await self.clock.sleep(wait_s)
            faults.append(str(last))
            if self._left_s(last, began_s, own_s, deadline_s) > 0:
                await self._check()
            if self._left_s(last, began_s, own_s, deadline_s) <= 0:
                # The attempt that failed was the last: its fault is the error.
                last.backoff_ms = backoff_s * 1e3
                raise last

    async def _once(
        self, attempt: Attempt, ask: Callable[[Attempt], Awaitable[_Result]]
    ) -> _Result:
        """One attempt, and what its end tells of the endpoint."""
        is_answered = False
        try:
            result = await attempt.run(ask)
            is_answered = True
        except TransientError as error:
            if error.is_overload and attempt.last is not None:
                self.pace.turned_away(attempt.last, error)
            raise
        except (RefusedError, FilteredError):
            attempt.heard()  # It is there, and answers.
            raise
        finally:
            attempt.end(is_answered=is_answered)
        return result

    def _left_s(
        self, error: TransientError, began_s: float, own_s: float, deadline_s: float
    ) -> float:
        """For further attempts: an endpoint that answers others is asked again by and by."""
        silent_since_s = max(began_s, self.pace.heard_at_s)
        left_s = silent_since_s + deadline_s - self.clock.now_s()
        return left_s if error.is_overload else min(left_s, deadline_s - own_s)

    async def _check(self) -> None:
        if self.server is not None and self.server.gave_up is not None:
            raise EndpointLostError(f"endpoint '{self.endpoint.name}': {self.server.gave_up}")
        if not self.endpoint.is_ours:
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
    clock = Clock()
    end = clock.now_s() + timeout_s
    while not await client.is_serving():
        if client.is_turned_away:
            raise InputError(f"endpoint '{endpoint.name}' ({endpoint.place}): {client.cause}")
        if clock.now_s() > end:
            raise UnreachableError(
                f"endpoint '{endpoint.name}' ({endpoint.place}) is not healthy "
                f"after {timeout_s:.0f} s: {client.cause}"
            )
        await clock.sleep(0.1)
    try:
        model = await client.get_model()
    except RefusedError as error:
        raise InputError(f"endpoint '{endpoint.name}' ({endpoint.place}): {error}") from None
    except AttemptError as error:
        raise UnreachableError(f"endpoint '{endpoint.name}' ({endpoint.place}): {error}") from None
    return Connection(endpoint=endpoint, client=client, model=model, server=server)
