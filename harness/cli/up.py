"""`harness up`: the local fleet in the foreground."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from harness.cli.dependencies import dependencies, read_endpoints
from harness.cli.fleet_view import FleetRow, FleetView, open_fleet_view
from harness.cli.shared_options import ENDPOINT_NAME, ENDPOINTS_FILE
from harness.cli.signals import StoppedError, run_until_signal
from harness.endpoints.config import Endpoint, require_checkpoints
from harness.errors import InputError
from harness.fleet.extras import require_extra
from harness.fleet.fleet import SEARCH_MODULE, SERVER_MODULE, start_all, stop_all
from harness.fleet.local_server import LocalServer, Say, ServerPlan

# In the table, and the name of its log.
SEARCH_SERVICE: Final = "retrieval"
_MAX_RESTARTS: Final = 20
_LOOK_EVERY_S: Final = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """One server a checkpoint, and the search that all of them use."""

    search: LocalServer
    models: dict[Path, LocalServer]
    endpoints: Sequence[Endpoint]

    @property
    def servers(self) -> list[LocalServer]:
        """All of them, the search first."""
        return [self.search, *self.models.values()]

    def server(self, endpoint: Endpoint) -> LocalServer:
        """Whoever serves this endpoint."""
        return self.models[endpoint.checkpoint_folder()]

    def rows(self) -> list[FleetRow]:
        """How each endpoint stands, and the search."""
        named = [(endpoint.name, self.server(endpoint)) for endpoint in self.endpoints]
        return [
            FleetRow(
                name=name,
                health=server.health,
                address=server.plan.target,
                num_restarts=server.num_restarts,
                log=server.plan.log,
            )
            for name, server in [(SEARCH_SERVICE, self.search), *named]
        ]


@click.command("up")
@click.argument("names", type=ENDPOINT_NAME, nargs=-1, metavar="[NAME ...]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the servers listen.")
@click.option(
    "--port",
    type=click.IntRange(1, 65000),
    default=50051,
    show_default=True,
    help="Of the first model; the others follow, and then the search service.",
)
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/up"),
    show_default=True,
    help="Folder of the servers' logs, and of an endpoints.toml with their addresses.",
)
@ENDPOINTS_FILE
@click.pass_context
def up_command(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    endpoints_file: Path | None,
    **options: object,
) -> None:
    """Start the local endpoints NAME (all without one) and stay until Ctrl-C or SIGTERM.

    Endpoints with the same checkpoint share one server, and all servers one search service. A
    server that crashes is started again. The table shows what the servers say of their health.

    \b
      harness up
      harness up rnn --port 6000
      harness eval --endpoints runs/up/endpoints.toml --endpoint rnn-rag --task assoc_recall
    """
    module = dependencies(ctx).server_module
    selected = read_endpoints(endpoints_file).select(names or ["all"])
    local = [endpoint for endpoint in selected if endpoint.checkpoint is not None]
    if not local:
        raise InputError("none of these endpoints is served here; nothing to start")
    require_checkpoints(local)
    if module == SERVER_MODULE:
        require_extra("servers", "serving a checkpoint")
    require_extra("retrieval", "serving the search")
    logs = Path(str(options["logs"]))
    _make_writable(logs)
    with open_fleet_view() as view:
        host, port = str(options["host"]), int(str(options["port"]))
        fleet = _plan(local, module, logs, host=host, port=port, say=view.say)
        try:
            run_until_signal(_stay(fleet, logs, view))
        except StoppedError as stopped:
            view.say(f"{stopped}; all servers are down")


def _make_writable(logs: Path) -> None:
    try:
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "endpoints.toml").touch()
    except OSError as error:
        raise InputError(f"cannot write to {logs}: {error}") from None


def _plan(
    endpoints: Sequence[Endpoint], module: str, logs: Path, *, host: str, port: int, say: Say
) -> Fleet:
    """One server a checkpoint, on successive ports; the search after them."""
    num_models = len({endpoint.checkpoint_folder() for endpoint in endpoints})
    search_address = f"{host}:{port + num_models}"

    def server(name: str, label: str, address: str, module: str, *arguments: str) -> LocalServer:
        plan = ServerPlan(
            label=label,
            module=module,
            arguments=arguments,
            listen=address,
            target=address,
            log=logs / f"{name}.log",
            max_restarts=_MAX_RESTARTS,
        )
        return LocalServer(plan, say)

    models: dict[Path, LocalServer] = {}
    for endpoint in endpoints:
        name, folder = endpoint.name, endpoint.checkpoint_folder()
        if folder not in models:
            label, address = f"{name} ({endpoint.checkpoint})", f"{host}:{port + len(models)}"
            arguments = (str(folder), "--retrieval", search_address)
            models[folder] = server(name, label, address, module, *arguments)
    search = server(SEARCH_SERVICE, "the search service", search_address, SEARCH_MODULE)
    return Fleet(search=search, models=models, endpoints=endpoints)


async def _stay(fleet: Fleet, logs: Path, view: FleetView) -> None:
    """Ends with an error alone: that of the start, or of the last server that is given up."""
    showing = asyncio.create_task(_keep_showing(fleet, view))
    try:
        await start_all([fleet.search])
        await start_all(fleet.models.values())
        file = logs / "endpoints.toml"
        _write_endpoints(fleet, file)
        view.say("all are up; Ctrl-C stops them")
        view.say(f"to ask them: harness eval --endpoints {file} --endpoint all --task assoc_recall")
        while not all(server.gave_up for server in fleet.models.values()):
            await asyncio.sleep(_LOOK_EVERY_S)
        raise next(server.gave_up for server in fleet.models.values() if server.gave_up)
    finally:
        showing.cancel()
        view.say("stopping all servers")
        stop_all(fleet.servers)
        view.show(fleet.rows())


async def _keep_showing(fleet: Fleet, view: FleetView) -> None:
    while True:
        view.show(fleet.rows())
        await asyncio.sleep(_LOOK_EVERY_S)


def _write_endpoints(fleet: Fleet, path: Path) -> None:
    tables = [
        f'[{endpoint.name}]\naddress = "grpc://{fleet.server(endpoint).plan.target}"\n'
        f"retrieval = {str(endpoint.retrieval).lower()}\n"
        for endpoint in fleet.endpoints
    ]
    path.write_text("\n".join(tables), encoding="utf-8")
