"""One endpoint as the face asks it: its defaults, and its completions and scores as they come."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.values import Mode, ModelDescription

from harness.clients.completion import Completion
from harness.clients.connection import Connection
from harness.clients.grpc_client import Client
from harness.clients.log_probs import Score
from harness.clients.transcript import Transcript
from harness.endpoints.request_options import RequestOptions
from harness.errors import InputError, unknown_name

# At once for one endpoint: fewer than a server's queue takes, so that a long list of prompts is
# not turned away for its length.
_MAX_CALLS: Final = 512
# What a completion's events are: its prompt was taken; a piece of it; all of it, at the end.
Event = pb.Started | pb.Delta | Completion


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstream:
    """An open endpoint over gRPC. `mode` None: its search channel stays closed."""

    name: str
    client: Client
    model: ModelDescription
    # What it is told where a request says nothing, from endpoints.toml.
    request: RequestOptions
    mode: Mode | None
    # Of one call.
    deadline_s: float
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_CALLS))

    async def complete(self, message: pb.GenerateRequest) -> AsyncGenerator[Event]:
        """Once the endpoint has a turn. Raises AttemptError; closing it hangs up."""
        async with self.turns:
            transcript = Transcript()
            began_s = time.perf_counter()
            stream = self.client.stream(message, timeout_s=self.deadline_s)
            async with aclosing(stream) as events:
                async for event in events:
                    transcript.add(event, (time.perf_counter() - began_s) * 1e3)
                    if event.HasField("started"):
                        yield event.started
                    elif event.HasField("delta"):
                        yield event.delta
            yield transcript.completion((time.perf_counter() - began_s) * 1e3)

    async def score(self, prompt: str | tuple[int, ...], *, num_top: int) -> Score:
        """How likely a prompt is from its first token on. Raises AttemptError."""
        async with self.turns:
            return await self.client.score(
                None, prompt, top_log_probs=num_top, timeout_s=self.deadline_s
            )


def upstream(connection: Connection, retrieval: str | None, *, deadline_s: float) -> Upstream:
    """`retrieval`: a mode, `none`, or None for the endpoint's own; where it has several, dense.

    Raises InputError for an endpoint that has no such search, or is no gRPC server.
    """
    endpoint, client, model = connection.endpoint, connection.client, connection.model
    if not isinstance(client, Client):
        raise InputError(
            f"endpoint '{endpoint.name}' speaks the OpenAI API already: ask {endpoint.place}"
        )
    return Upstream(
        name=endpoint.name,
        client=client,
        model=model,
        request=endpoint.request,
        mode=_mode(connection, retrieval),
        deadline_s=deadline_s,
    )


def _mode(connection: Connection, retrieval: str | None) -> Mode | None:
    endpoint, modes = connection.endpoint, connection.model.modes
    if not endpoint.retrieval or retrieval == "none":
        return None
    if not modes:
        raise InputError(f"endpoint '{endpoint.name}': its model has no search channel")
    if retrieval is None:
        return Mode.DENSE if Mode.DENSE in modes else modes[0]
    if retrieval not in modes:
        raise unknown_name("search", retrieval, modes)
    return Mode(retrieval)
