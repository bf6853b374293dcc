"""What servers of ours there are to start: which program, what it needs, where it listens."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harnessapi.programs import MissingExtraError, require_extra
from harnessapi.rpc.targets import Target

from harness.endpoints.config import Endpoint
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
    start_timeout_s: float = 120.0

    @property
    def command(self) -> Sequence[str]:
        """The command line after `python -m`."""
        return (self.program.module, *self.arguments, "--listen", self.target.name)


def plan_models(
    endpoints: Iterable[Endpoint], plan: Callable[[int, Endpoint], ServerPlan]
) -> dict[Path, ServerPlan]:
    """By checkpoint folder: one server each; `plan` gets its number, and who named it first."""
    plans: dict[Path, ServerPlan] = {}
    for endpoint in endpoints:
        if endpoint.checkpoint is not None:
            folder = endpoint.checkpoint_folder()
            if folder not in plans:
                plans[folder] = plan(len(plans), endpoint)
    return plans
