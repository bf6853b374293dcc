"""An open endpoint: asked with retries, and whether it is still the one that was opened."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from harnessapi.values import ModelDescription
from msgspec.structs import replace

from harness.clients.attempt import Attempt
from harness.clients.clock import Backoff, Clock
from harness.clients.completion import Completion, CompletionRequest
from harness.clients.context_room import ContextRoom
from harness.clients.faults import (
    AttemptError,
    DeadlineError,
    FilteredError,
    RefusedError,
    SilentError,
    TransientError,
)
from harness.clients.model_client import Attempts, ModelClient
from harness.clients.replica import Replica, differing
from harness.clients.replicas import Replicas
from harness.endpoints.endpoint import Endpoint
from harness.errors import EndpointLostError, HarnessError, InputError, UnreachableError
from harness.sample import Prompt

CONNECT_TIMEOUT_S: Final = 10.0
_Result = TypeVar("_Result")


class _Tried(NamedTuple, Generic[_Result]):
    """What came, where from, the fault of each attempt before it, and the time between them."""

    result: _Result
    replica: Replica
    faults: tuple[str, ...]
    backoff_ms: float


class Server(Protocol):
    """The process of ours that a connection stands and falls with."""

    # Set once it will not come back: why.
    gave_up: HarnessError | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """`server` is None where the server is not ours."""

    endpoint: Endpoint
    # Of each address what lets requests through to it, on its clock. By default at once.
    replicas: Replicas
    model: ModelDescription
    server: Server | None
    backoff: Backoff = field(default_factory=Backoff)
    room: ContextRoom = field(default_factory=ContextRoom)

    @property
    def client(self) -> ModelClient:
        """For what is asked of the endpoint as a whole."""
        return self.replicas.first.client

    @property
    def clock(self) -> Clock:
        """That of the paces."""
        return self.replicas.first.pace.clock

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
        opened: dict[Replica, Attempts] = {}
        with ExitStack() as stack:

            def ask(replica: Replica, attempt: Attempt) -> Awaitable[Completion]:
                # At the same address it goes on from where it failed, elsewhere it begins anew.
                if replica not in opened:
                    opened[replica] = stack.enter_context(replica.client.attempts(request))
                return opened[replica](None, attempt)

            tried = await self._retrying(ask, deadline_s=deadline_s, generator=generator)
        completion = replace(tried.result, answered_by=tried.replica.address or None)
        if not tried.faults:
            return completion
        times = replace(completion.times, backoff_ms=tried.backoff_ms)
        return replace(
            completion, times=times, num_attempts=len(tried.faults) + 1, faults=tried.faults
        )

    async def count_tokens(self, prompt: Prompt, *, deadline_s: float) -> int:
        """How long the server finds a prompt; 0 where it does not say. Raises AttemptError."""

        async def count(replica: Replica, attempt: Attempt) -> int:
            await attempt.sending()
            return await replica.client.count_tokens(prompt, timeout_s=deadline_s)

        num_tokens = (
            await self._retrying(count, deadline_s=deadline_s, generator=random.Random(prompt.text))
        ).result
        self.room.read(prompt, num_tokens)
        return num_tokens

    async def _retrying(
        self,
        ask: Callable[[Replica, Attempt], Awaitable[_Result]],
        *,
        deadline_s: float,
        generator: random.Random,
    ) -> _Tried[_Result]:
        """Attempts until there is a result, a permanent error, `deadline_s` of faults and waiting

        of its own, or as long without an answer to anybody. Raises the error of the last one.
        """
        began_s = self.clock.now_s()
        own_s = backoff_s = 0.0
        faults: list[str] = []
        tried: set[Replica] = set()
        while True:
            replica = await self._next(tried)
            attempt = Attempt(replica.pace, self.clock, deadline_s)
            asked_s = self.clock.now_s()
            try:
                result = await self._once(replica, attempt, ask)
            except AttemptError as error:
                last = error
            else:
                backoff_s += attempt.paced_s if faults else 0.0
                return _Tried(result, replica, tuple(faults), backoff_s * 1e3)
            backoff_s += attempt.paced_s if faults else 0.0
            last.faults, last.backoff_ms = tuple(faults), backoff_s * 1e3
            last.address = replica.address
            if not isinstance(last, TransientError):
                raise last
            tried.add(replica)
            if not last.is_overload:
                self.replicas.leave_out(replica)
                if not isinstance(last, SilentError):
                    own_s += self.clock.now_s() - asked_s - attempt.paced_s
            left_s = self._left_s(last, began_s, own_s, deadline_s)
            heard_at_s = self.replicas.heard_at_s
            last.is_endpoints = heard_at_s < began_s or last.retry_after_s >= deadline_s
            # A server that wants to be left alone for longer than there is time is not asked again.
            if left_s <= last.retry_after_s:
                raise last
            if not last.is_overload:
                # Jitter comes on top: all who failed at once would come back at once.
                own_wait_s = self.backoff.wait_s(len(faults) + 1, generator)
                wait_s = min(left_s, last.retry_after_s + own_wait_s)
                replica.pace.failed(wait_s)
                own_s += wait_s
                backoff_s += wait_s
                await self.clock.sleep(wait_s)
            faults.append(f"{replica.address} {last}".lstrip())
            if self._left_s(last, began_s, own_s, deadline_s) > 0:
                await self._check()
            if self._left_s(last, began_s, own_s, deadline_s) <= 0:
                # The attempt that failed was the last: its fault is the error.
                last.backoff_ms = backoff_s * 1e3
                raise last

    async def _next(self, tried: set[Replica]) -> Replica:
        try:
            return await self.replicas.next(tried)
        except EndpointLostError as error:
            raise EndpointLostError(f"endpoint '{self.endpoint.name}': {error}") from None

    async def _once(
        self,
        replica: Replica,
        attempt: Attempt,
        ask: Callable[[Replica, Attempt], Awaitable[_Result]],
    ) -> _Result:
        """One attempt, and what its end tells of the address."""
        is_answered = False
        replica.num_outstanding += 1
        replica.num_asked += 1
        try:
            result = await attempt.run(lambda attempt: ask(replica, attempt))
            is_answered = True
        except TransientError as error:
            if error.is_overload and attempt.last is not None:
                replica.pace.turned_away(attempt.last, error)
            raise
        except (RefusedError, FilteredError):
            attempt.heard()  # It is there, and answers.
            raise
        except DeadlineError as error:
            silent_since_s = attempt.silent_since_s
            if silent_since_s is not None and self.replicas.is_silent_alone(
                replica, silent_since_s
            ):
                raise SilentError(error.code, error.detail) from None
            raise
        finally:
            replica.num_outstanding -= 1
            attempt.end(is_answered=is_answered)
        return result

    def _left_s(
        self, error: TransientError, began_s: float, own_s: float, deadline_s: float
    ) -> float:
        """For further attempts: an endpoint that answers others is asked again by and by."""
        silent_since_s = max(began_s, self.replicas.heard_at_s)
        left_s = silent_since_s + deadline_s - self.clock.now_s()
        return left_s if error.is_overload else min(left_s, deadline_s - own_s)

    async def _check(self) -> None:
        if self.server is not None and self.server.gave_up is not None:
            raise EndpointLostError(f"endpoint '{self.endpoint.name}': {self.server.gave_up}")
        if self.replicas.are_several:
            return  # Who failed is not asked again before it was looked at.
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
    endpoint: Endpoint, replicas: Replicas, server: Server | None, *, timeout_s: float
) -> Connection:
    """Waits until its addresses are healthy and asks what they serve; of several one is enough.

    Raises InputError where one refuses us, or serves something else than another, else
    UnreachableError.
    """
    results = await asyncio.gather(
        *(_opened(endpoint, replica, timeout_s) for replica in replicas.all),
        return_exceptions=True,
    )
    models: dict[str, ModelDescription] = {}
    away: list[UnreachableError] = []
    for replica, result in zip(replicas.all, results, strict=True):
        if isinstance(result, UnreachableError):
            away.append(result)
            replica.is_out = True
        elif isinstance(result, BaseException):
            raise result
        else:
            models[replica.address] = result
    if not models:
        raise away[0] if len(away) == 1 else UnreachableError("\n".join(map(str, away)))
    if differences := differing(models):
        lines = "\n".join(f"  {line}" for line in differences)
        raise InputError(
            f"endpoint '{endpoint.name}': its addresses do not serve the same; name those that "
            f"do, and the others as another endpoint:\n{lines}"
        )
    for error in away:
        replicas.say(f"left out, and tried again: {error}")
    model = next(iter(models.values()))
    replicas.begin(model)
    return Connection(endpoint=endpoint, replicas=replicas, model=model, server=server)


async def _opened(endpoint: Endpoint, replica: Replica, timeout_s: float) -> ModelDescription:
    """What is served at an address, once it is healthy. Raises InputError or UnreachableError."""
    client, clock = replica.client, Clock()
    where = f"endpoint '{endpoint.name}' ({replica.address or endpoint.place})"
    end = clock.now_s() + timeout_s
    while not await client.is_serving():
        if client.is_turned_away:
            raise InputError(f"endpoint '{endpoint.name}' ({endpoint.place}): {client.cause}")
        if clock.now_s() > end:
            raise UnreachableError(
                f"{where} is not healthy after {timeout_s:.0f} s: {client.cause}"
            )
        await clock.sleep(0.1)
    try:
        return await client.get_model()
    except RefusedError as error:
        raise InputError(f"{where}: {error}") from None
    except AttemptError as error:
        raise UnreachableError(f"{where}: {error}") from None
