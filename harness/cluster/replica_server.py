"""An actor that keeps one model server running where Ray puts it."""

import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harnessapi.rpc.targets import parse_target

from harness.errors import HarnessError
from harness.fleet.local_server import Health, LocalServer
from harness.fleet.plans import Program, ServerPlan

_MAX_RESTARTS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaPlan:
    """What is served; where is decided on the spot."""

    label: str
    program: Program
    # As `model_arguments`.
    arguments: tuple[str, ...]
    start_timeout_s: float
    # The address that servers are reached by; None: that of the node.
    host: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaState:
    """How it stands."""

    health: Health
    address: str
    num_restarts: int
    # On the node.
    log: Path
    # Why it will not come back.
    gave_up: HarnessError | None = None


class ReplicaServer:
    """One server process on a free port of its node, started again when it stops."""

    def __init__(self, plan: ReplicaPlan) -> None:
        host = plan.host or _node_address()
        with socket.socket() as probe:
            probe.bind((host, 0))
            port = probe.getsockname()[1]
        self._server = LocalServer(
            ServerPlan(
                label=plan.label,
                program=plan.program,
                arguments=plan.arguments,
                target=parse_target(f"{host}:{port}"),
                log=Path(tempfile.mkdtemp(prefix="harness-")) / "server.log",
                max_restarts=_MAX_RESTARTS,
                start_timeout_s=plan.start_timeout_s,
            ),
            _say_nothing,
        )

    async def start(self) -> None:
        """Returns once it is healthy. Raises as LocalServer does, and where an extra is missing."""
        self._server.plan.program.require()
        await self._server.start()

    async def look(self) -> ReplicaState:
        """How it stands now."""
        server = self._server
        return ReplicaState(
            health=server.health,
            address=server.plan.target.name,
            num_restarts=server.num_restarts,
            log=server.plan.log,
            gave_up=server.gave_up,
        )


def _node_address() -> str:
    from ray.util import get_node_ip_address  # noqa: PLC0415  (only within Ray)

    return str(get_node_ip_address())


def _say_nothing(text: str, *, is_warning: bool = False) -> None:
    """Its states are looked at."""
