"""Replicas of endpoints as actors of Ray: watched, shown, and written down where they are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.cluster.replica_server import ReplicaPlan, ReplicaServer, ReplicaState
from harness.endpoints.endpoint import Endpoint
from harness.errors import HarnessError
from harness.fleet.local_server import Health, Say
from harness.fleet.plans import Program, ServerKey, model_arguments, server_key
from harness.fleet.standing_fleet import LOOK_EVERY_S, FleetRow

_NOWHERE: Final = Path("-")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaResources:
    """How many of each server, and what Ray keeps free for each."""

    replicas: int
    num_cpus: float
    num_gpus: float


@dataclass(kw_only=True, slots=True)
class _Replica:
    label: str
    actor: Any
    health: Health = Health.STARTING
    state: ReplicaState | None = None
    # Of the actor, by Ray; each brings a server with it.
    num_losses: int = 0
    gave_up: HarnessError | None = None

    def row(self, name: str) -> FleetRow:
        """As the table shows it."""
        state = self.state
        return FleetRow(
            name=name,
            health=self.health,
            address=state.address if state else "-",
            num_restarts=self.num_losses + (state.num_restarts if state else 0),
            log=state.log if state else _NOWHERE,
        )


@dataclass(kw_only=True, slots=True)
class RayFleet:
    """`replicas` of every server that the endpoints need; `endpoints_file` is kept up to date."""

    ray: Any
    endpoints: Sequence[Endpoint]
    replicas: dict[ServerKey, list[_Replica]]
    endpoints_file: Path
    say: Say
    _written: str = field(default="")

    def rows(self) -> list[FleetRow]:
        """How each stands."""
        return [
            FleetRow(
                name=f"{endpoint.name}/{number}",
                health=replica.health,
                address=replica.state.address if replica.state else "-",
                num_restarts=replica.num_losses
                + (replica.state.num_restarts if replica.state else 0),
                log=replica.state.log if replica.state else _NOWHERE,
            )
            for endpoint in self.endpoints
            for number, replica in enumerate(self.replicas[server_key(endpoint)])
        ]

    async def stay(self) -> None:
        """Starts all, and watches them. Raises the error of one, once all are given up."""
        everyone = [replica for group in self.replicas.values() for replica in group]
        async with asyncio.TaskGroup() as group:
            watchers = [group.create_task(self._watch(replica)) for replica in everyone]
            while not all(replica.gave_up for replica in everyone):
                self._write()
                await asyncio.sleep(LOOK_EVERY_S)
            for watcher in watchers:
                watcher.cancel()
        raise next(replica.gave_up for replica in everyone if replica.gave_up)

    async def _watch(self, replica: _Replica) -> None:
        errors = self.ray.exceptions
        is_started = False
        while replica.gave_up is None:
            try:
                if not is_started:
                    await replica.actor.start.remote()
                    is_started = True
                    self.say(f"{replica.label} is ready")
                replica.state = await replica.actor.look.remote()
                replica.health = replica.state.health
                replica.gave_up = replica.state.gave_up
            except errors.RayTaskError as error:
                replica.health = Health.FAILED
                if not isinstance(error.cause, HarnessError):
                    raise
                replica.gave_up = error.cause
                self.say(str(error.cause), is_warning=True)
            except errors.RayError:
                # Ray starts it again, maybe elsewhere.
                if is_started:
                    replica.num_losses += 1
                    self.say(f"{replica.label} was lost; Ray starts it again", is_warning=True)
                is_started, replica.health, replica.state = False, Health.RESTARTING, None
            await asyncio.sleep(LOOK_EVERY_S)

    def _write(self) -> None:
        """Once all are up, and whenever one has another address than before."""
        tables = []
        for endpoint in self.endpoints:
            states = [replica.state for replica in self.replicas[server_key(endpoint)]]
            addresses = [f'"grpc://{state.address}"' for state in states if state is not None]
            if not addresses or (not self._written and len(addresses) < len(states)):
                return
            told = addresses[0] if len(addresses) == 1 else f"[{', '.join(addresses)}]"
            retrieval = str(endpoint.retrieval).lower()
            tables.append(f"[{endpoint.name}]\naddress = {told}\nretrieval = {retrieval}\n")
        if (text := "\n".join(tables)) == self._written:
            return
        self.endpoints_file.write_text(text, encoding="utf-8")
        if not self._written:
            self.say("all are up; Ctrl-C stops them")
            self.say(
                f"to ask them: harness eval --endpoints {self.endpoints_file} --endpoint all "
                "--task assoc_recall"
            )
        self._written = text


def start_ray_fleet(
    ray: Any,
    endpoints: Sequence[Endpoint],
    program: Program,
    resources: ReplicaResources,
    *,
    endpoints_file: Path,
    host: str | None,
    say: Say,
) -> RayFleet:
    """Asks Ray for the actors; it starts each where there is room. `host`: None: their nodes'."""
    server = ray.remote(ReplicaServer).options(
        num_cpus=resources.num_cpus, num_gpus=resources.num_gpus, max_restarts=-1
    )
    # Nodes have addresses that other machines reach: the caller has been told.
    allowed = ("--insecure",) if host is None else ()
    replicas: dict[ServerKey, list[_Replica]] = {}
    for endpoint in endpoints:
        if (key := server_key(endpoint)) in replicas:
            continue
        labels = [f"{endpoint.name}/{number}" for number in range(resources.replicas)]
        plan = ReplicaPlan(
            label=endpoint.name,
            program=program,
            arguments=(*model_arguments(endpoint), *allowed),
            start_timeout_s=endpoint.start_timeout_s,
            host=host,
        )
        replicas[key] = [_Replica(label=label, actor=server.remote(plan)) for label in labels]
    _tell_shortage(ray, resources, len(replicas), say)
    return RayFleet(
        ray=ray, endpoints=endpoints, replicas=replicas, endpoints_file=endpoints_file, say=say
    )


def _tell_shortage(ray: Any, resources: ReplicaResources, num_servers: int, say: Say) -> None:
    """A cluster may grow: what it has not room for yet is waited for."""
    there = ray.cluster_resources()
    num = num_servers * resources.replicas
    for name, each in (("CPU", resources.num_cpus), ("GPU", resources.num_gpus)):
        if num * each > there.get(name, 0):
            say(
                f"the cluster has {there.get(name, 0):g} {name}, and {num} servers with {each:g} "
                "each are waited for (--num-cpus, --num-gpus)",
                is_warning=True,
            )
