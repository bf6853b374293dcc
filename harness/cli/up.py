"""`harness up`: the local fleet in the foreground."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from harness.cli.dependencies import dependencies, read_endpoints
from harness.cli.options import ENDPOINTS_FILE
from harness.cli.signals import StoppedError, run_until_signal
from harness.endpoints.config import Endpoint
from harness.endpoints.extras import require_extra
from harness.endpoints.fleet import SERVER_MODULE, start_all, stop_all
from harness.endpoints.local_server import LocalServer, ServerPlan
from harness.errors import InputError

_MAX_RESTARTS = 20
_LOOK_EVERY_S = 0.2


@click.command("up")
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the servers listen.")
@click.option(
    "--port",
    type=click.IntRange(1, 65000),
    default=50051,
    show_default=True,
    help="Of the first server; the next ones follow.",
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

    Endpoints with the same checkpoint share one server. A server that crashes is started again.

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
    if module == SERVER_MODULE:
        require_extra("servers", "serving a checkpoint")
        require_extra("retrieval", "searching in process")
    logs = Path(str(options["logs"]))
    servers = _plan(local, module, f"{options['host']}", int(str(options["port"])), logs)
    try:
        run_until_signal(_stay(local, servers, logs))
    except StoppedError as stopped:
        click.echo(f"{stopped}; all servers are down", err=True)


def _plan(
    endpoints: Sequence[Endpoint], module: str, host: str, port: int, logs: Path
) -> dict[Path, LocalServer]:
    """One server a checkpoint, on successive ports."""
    try:
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "endpoints.toml").touch()
    except OSError as error:
        raise InputError(f"cannot write to {logs}: {error}") from None
    servers: dict[Path, LocalServer] = {}
    for endpoint in endpoints:
        checkpoint = endpoint.checkpoint_folder()
        if checkpoint in servers:
            continue
        address = f"{host}:{port + len(servers)}"
        plan = ServerPlan(
            label=f"{endpoint.name} ({endpoint.checkpoint})",
            checkpoint=checkpoint,
            module=module,
            listen=address,
            target=address,
            log=logs / f"{endpoint.name}.log",
            max_restarts=_MAX_RESTARTS,
        )
        servers[checkpoint] = LocalServer(plan, _say)
    return servers


async def _stay(
    endpoints: Sequence[Endpoint], servers: dict[Path, LocalServer], logs: Path
) -> None:
    try:
        await start_all(servers.values())
        rows = [(endpoint, servers[endpoint.checkpoint_folder()]) for endpoint in endpoints]
        _write_endpoints(rows, logs / "endpoints.toml")
        shown: list[str] = []
        while True:
            lines = [_line(endpoint, server) for endpoint, server in rows]
            if lines != shown:
                click.echo("\n".join(lines))
                shown = lines
            for _, server in rows:
                if server.gave_up is not None:
                    raise server.gave_up
            await asyncio.sleep(_LOOK_EVERY_S)
    finally:
        stop_all(servers.values())


def _line(endpoint: Endpoint, server: LocalServer) -> str:
    health = "healthy" if server.is_healthy else "down"
    return f"{endpoint.name:<16} {health:<8} {server.plan.target:<22} log: {server.plan.log}"


def _write_endpoints(rows: Sequence[tuple[Endpoint, LocalServer]], path: Path) -> None:
    tables = [
        f'[{endpoint.name}]\naddress = "grpc://{server.plan.target}"\n'
        f"retrieval = {str(endpoint.retrieval).lower()}\n"
        for endpoint, server in rows
    ]
    path.write_text("\n".join(tables), encoding="utf-8")


def _say(text: str) -> None:
    click.echo(text, err=True)
