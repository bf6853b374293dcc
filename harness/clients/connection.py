"""An open endpoint: its client, its model, and whether it is still the one that was opened."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from harnessapi.values import ModelDescription

from harness.clients.completion import CompletionRequest
from harness.clients.faults import AttemptError, RefusedError
from harness.clients.grpc_client import Client
from harness.clients.model_client import ModelClient
from harness.clients.retrying import Attempts, Backoff, complete_with_retries
from harness.endpoints.config import Endpoint
from harness.errors import EndpointLostError, HarnessError, InputError, UnreachableError
from harness.sample import Prompt

CONNECT_TIMEOUT_S: Final = 10.0


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

    async def complete(
        self, request: CompletionRequest, *, deadline_s: float, generator: random.Random
    ) -> Attempts:
        """One sample with retries. Raises EndpointLostError where going on makes no sense."""
        return await complete_with_retries(
            lambda left_s: self.client.complete(request, timeout_s=left_s),
            before_retry=self._check,
            deadline_s=deadline_s,
            generator=generator,
            backoff=self.backoff,
        )

    async def count_tokens(self, prompt: Prompt, *, deadline_s: float) -> int:
        """How long the server finds a prompt; 0 where it does not say. Raises AttemptError.

        A server that cannot be asked for it is given the prompt, to go on for one token.
        """
        if isinstance(self.client, Client):
            return await self.client.count_tokens(prompt.text)
        request = CompletionRequest(prompt=prompt, mode=None, max_new_tokens=1)
        attempts = await self.complete(
            request, deadline_s=deadline_s, generator=random.Random(prompt.text)
        )
        if attempts.completion is not None:
            return attempts.completion.num_prompt_tokens
        raise attempts.error or AttemptError("UNKNOWN", "no completion and no error")

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
