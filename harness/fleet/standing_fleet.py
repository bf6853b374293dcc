"""A fleet that stays: on ports, with one search service that all its servers use."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harnessapi.rpc.targets import parse_target

from harness.endpoints.endpoint import Endpoint
from harness.errors import InputError
from harness.fleet.fleet import start_all
from harness.fleet.local_server import Health, LocalServer, Say
from harness.fleet.plans import (
    SEARCH_SERVER,
    Program,
    ServerKey,
    ServerPlan,
    model_arguments,
    plan_models,
    server_key,
)

# In the table, and the name of its log.
SEARCH_SERVICE: Final = "retrieval"
LOOK_EVERY_S: Final = 0.2
_MAX_RESTARTS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class FleetRow:
    """An endpoint, or the search service, and the server behind it."""

    name: str
    health: Health
    address: str
    num_restarts: int
    log: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingFleet:
    """One server a checkpoint, and the search that all of them use."""

    search: LocalServer
    models: dict[ServerKey, LocalServer]
    endpoints: Sequence[Endpoint]

    @property
    def servers(self) -> list[LocalServer]:
        """All of them, the search first."""
        return [self.search, *self.models.values()]

    def rows(self) -> list[FleetRow]:
        """How each endpoint stands, and the search."""
        named = [(endpoint.name, self._server(endpoint)) for endpoint in self.endpoints]
        return [
            FleetRow(
                name=name,
                health=server.health,
                address=server.plan.target.name,
                num_restarts=server.num_restarts,
                log=server.plan.log,
            )
            for name, server in [(SEARCH_SERVICE, self.search), *named]
        ]

    async def start(self) -> None:
        """The search first, then the others side by side. Raises as `start_all` does."""
        await start_all([self.search])
        await start_all(self.models.values())

    async def wait_lost(self) -> None:
        """Raises the error of a model's server, once all of them are given up."""
        while not all(server.gave_up for server in self.models.values()):
            await asyncio.sleep(LOOK_EVERY_S)
        raise next(server.gave_up for server in self.models.values() if server.gave_up)

    def endpoints_file(self) -> str:
        """An endpoints.toml with the servers' addresses."""
        return "\n".join(
            f'[{endpoint.name}]\naddress = "grpc://{self._server(endpoint).plan.target}"\n'
            f"retrieval = {str(endpoint.retrieval).lower()}\n"
            for endpoint in self.endpoints
        )

    def _server(self, endpoint: Endpoint) -> LocalServer:
        return self.models[server_key(endpoint)]


def plan_standing_fleet(
    endpoints: Sequence[Endpoint],
    program: Program,
    logs: Path,
    *,
    host: str,
    port: int,
    insecure: bool = False,
    say: Say,
) -> StandingFleet:
    """One server a checkpoint, on successive ports; the search after them.

    Raises InputError for a host that other machines reach, unless that is said to be well.
    """
    num_models = len({server_key(endpoint) for endpoint in endpoints})
    search_target = parse_target(f"{host}:{port + num_models}")
    if not (insecure or search_target.is_loopback):
        raise InputError(
            f"other machines may reach {host}, and these servers let everybody in: --insecure "
            "starts them all the same, on a network that you trust (docs/trust.md)"
        )
    allowed = () if search_target.is_loopback else ("--insecure",)

    def plan(number: int, endpoint: Endpoint) -> ServerPlan:
        return ServerPlan(
            label=f"{endpoint.name} ({endpoint.checkpoint})",
            program=program,
            arguments=(
                *(*model_arguments(endpoint), "--retrieval", search_target.name),
                *allowed,
            ),
            target=parse_target(f"{host}:{port + number}"),
            # A name may have the form of a path: org/model.
            log=logs / f"{endpoint.name.replace('/', '%2F')}.log",
            max_restarts=_MAX_RESTARTS,
            start_timeout_s=endpoint.start_timeout_s,
        )

    search = ServerPlan(
        label="the search service",
        program=SEARCH_SERVER,
        arguments=allowed,
        target=search_target,
        log=logs / f"{SEARCH_SERVICE}.log",
        max_restarts=_MAX_RESTARTS,
    )
    models = plan_models(endpoints, plan)
    return StandingFleet(
        search=LocalServer(search, say),
        models={key: LocalServer(plan, say) for key, plan in models.items()},
        endpoints=endpoints,
    )
