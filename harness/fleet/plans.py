"""What servers of ours there are to start: which program, what it needs, where it listens."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harnessapi.programs import MissingExtraError, require_extra
from harnessapi.rpc.targets import Target

from harness.endpoints.endpoint import Endpoint
from harness.endpoints.serving import START_TIMEOUT_S
from harness.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Run as `python -m MODULE ARGUMENT... --listen ADDRESS`; `needs`: extras, and what for."""

    module: str
    needs: tuple[tuple[str, str], ...] = ()

    def require(self) -> None:
        """Raises InputError where an extra is not installed."""
        try:
            for extra, what in self.needs:
                require_extra(extra, what)
        except MissingExtraError as error:
            raise InputError(str(error)) from None


MODEL_SERVER: Final = Program(
    module="harness_servers.command",
    needs=(("servers", "serving a checkpoint"), ("retrieval", "searching in process")),
)
SEARCH_SERVER: Final = Program(
    module="harness_retrieval.command", needs=(("retrieval", "serving the search"),)
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerPlan:
    """One server to start."""

    label: str
    program: Program
    target: Target
    log: Path
    arguments: tuple[str, ...] = ()
    # In a row: a server that was up for a minute has them all again.
    max_restarts: int = 3
    # From the start of the process until it is healthy.
    start_timeout_s: float = START_TIMEOUT_S

    @property
    def command(self) -> Sequence[str]:
        """The command line after `python -m`."""
        return (self.program.module, *self.arguments, "--listen", self.target.name)


# A checkpoint folder and the options of its server: endpoints with the same share one.
ServerKey = tuple[Path, tuple[str, ...]]


def server_key(endpoint: Endpoint) -> ServerKey:
    """Of an endpoint that is a checkpoint. Raises InputError where its folder is not there."""
    return endpoint.checkpoint_folder(), endpoint.serving.arguments


def plan_models(
    endpoints: Iterable[Endpoint], plan: Callable[[int, Endpoint], ServerPlan]
) -> dict[ServerKey, ServerPlan]:
    """One server for each key; `plan` gets its number, and who named it first."""
    plans: dict[ServerKey, ServerPlan] = {}
    for endpoint in endpoints:
        if endpoint.checkpoint is not None:
            key = server_key(endpoint)
            if key not in plans:
                plans[key] = plan(len(plans), endpoint)
    return plans


def model_arguments(endpoint: Endpoint) -> tuple[str, ...]:
    """What the server of a checkpoint is told, whoever starts it."""
    folder, options = server_key(endpoint)
    return (str(folder), *options)
