"""`harness up`: the local fleet in the foreground."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import click
from harnessapi.rpc.targets import TargetError

from harness.cli.dependencies import dependencies, read_endpoints
from harness.cli.fleet_view import FleetView, open_fleet_view
from harness.cli.shared_options import ENDPOINT_NAME, ENDPOINTS_FILE, QUIET, ExecutorType
from harness.cli.signals import StoppedError, run_until_signal
from harness.cluster.ray_fleet import ReplicaResources, start_ray_fleet
from harness.cluster.ray_library import RayExecutor, open_ray
from harness.endpoints.config import require_checkpoints
from harness.endpoints.endpoint import Endpoint
from harness.errors import InputError
from harness.fleet.fleet import stop_all
from harness.fleet.plans import SEARCH_SERVER, Program
from harness.fleet.standing_fleet import LOOK_EVERY_S, FleetRow, StandingFleet, plan_standing_fleet


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
@click.option(
    "--insecure",
    is_flag=True,
    help="Listen on a HOST that other machines reach, in the clear and for everybody.",
)
@click.option(
    "--executor",
    type=ExecutorType(),
    help="Start the servers as actors of a Ray cluster; without an address of a Ray of this "
    "machine. Needs the extra `ray`. Ports are free ones; each searches by itself.",
)
@click.option(
    "--replicas",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="With --executor: so many servers of each checkpoint.",
)
@click.option(
    "--num-cpus",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="With --executor: what Ray keeps free for each server.",
)
@click.option(
    "--num-gpus",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="With --executor: what Ray keeps free for each server.",
)
@QUIET
@ENDPOINTS_FILE
@click.pass_context
def up_command(
    ctx: click.Context,
    /,
    *,
    names: tuple[str, ...],
    host: str,
    port: int,
    logs: Path,
    insecure: bool,
    executor: RayExecutor | None,
    replicas: int,
    num_cpus: float,
    num_gpus: float,
    quiet: bool,
    endpoints_file: Path | None,
) -> None:
    """Start the local endpoints NAME (all without one) and stay until Ctrl-C or SIGTERM.

    Endpoints with the same checkpoint share one server, and all servers one search service. A
    server that crashes is started again. The table shows what the servers say of their health.
    They speak in the clear: for TLS and tokens start each by harness serve (docs/trust.md).

    \b
      harness up
      harness up rnn rnn-rag --port 6000
      harness up rnn --executor ray=10.0.0.1:6379 --replicas 4 --num-gpus 1 --insecure
      harness eval --endpoints runs/up/endpoints.toml --endpoint rnn-rag --task assoc_recall
    """
    program = dependencies(ctx).model_server
    if executor is None and replicas > 1:
        raise click.UsageError("--replicas needs --executor ray", ctx)
    selected = read_endpoints(endpoints_file).select(names or ["all"])
    local = [endpoint for endpoint in selected if endpoint.checkpoint is not None]
    if not local:
        raise InputError("none of these endpoints is served here; nothing to start")
    require_checkpoints(local)
    if executor is not None:
        if not (executor.is_local or insecure):
            raise InputError(
                "other machines reach the nodes of a cluster, and these servers let everybody in: "
                "--insecure says that it is meant so (docs/trust.md)"
            )
        resources = ReplicaResources(replicas=replicas, num_cpus=num_cpus, num_gpus=num_gpus)
        _up_on_ray(executor, local, program, resources, logs, is_quiet=quiet)
        return
    for needed in (program, SEARCH_SERVER):
        needed.require()
    _make_writable(logs)
    with open_fleet_view(is_quiet=quiet) as view:
        try:
            fleet = plan_standing_fleet(
                local, program, logs, host=host, port=port, insecure=insecure, say=view.say
            )
        except TargetError as error:
            raise InputError(str(error)) from None
        try:
            run_until_signal(_stay(fleet, logs / "endpoints.toml", view))
        except StoppedError as stopped:
            view.say(f"{stopped}; all servers are down")


def _up_on_ray(
    executor: RayExecutor,
    endpoints: Sequence[Endpoint],
    program: Program,
    resources: ReplicaResources,
    logs: Path,
    *,
    is_quiet: bool,
) -> None:
    executor.require()
    _make_writable(logs)
    with open_fleet_view(is_quiet=is_quiet) as view, open_ray(executor) as ray:
        fleet = start_ray_fleet(
            ray,
            endpoints,
            program,
            resources,
            endpoints_file=logs / "endpoints.toml",
            host="127.0.0.1" if executor.is_local else None,
            say=view.say,
        )
        try:
            run_until_signal(_showing(fleet.stay(), fleet.rows, view))
        except StoppedError as stopped:
            view.say(f"{stopped}; all servers are down")


async def _showing(
    staying: Coroutine[Any, Any, None], rows: Callable[[], Sequence[FleetRow]], view: FleetView
) -> None:
    showing = asyncio.create_task(_keep_showing(rows, view))
    try:
        await staying
    finally:
        showing.cancel()
        view.show(rows())


def _make_writable(logs: Path) -> None:
    try:
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "endpoints.toml").touch()
    except OSError as error:
        raise InputError(f"cannot write to {logs}: {error}") from None


async def _stay(fleet: StandingFleet, endpoints_file: Path, view: FleetView) -> None:
    """Ends with an error alone: that of the start, or of the last server that is given up."""
    showing = asyncio.create_task(_keep_showing(fleet.rows, view))
    try:
        await fleet.start()
        endpoints_file.write_text(fleet.endpoints_file(), encoding="utf-8")
        view.say("all are up; Ctrl-C stops them")
        view.say(
            f"to ask them: harness eval --endpoints {endpoints_file} --endpoint all "
            "--task assoc_recall"
        )
        await fleet.wait_lost()
    finally:
        showing.cancel()
        view.say("stopping all servers")
        stop_all(fleet.servers)
        view.show(fleet.rows())


async def _keep_showing(rows: Callable[[], Sequence[FleetRow]], view: FleetView) -> None:
    while True:
        view.show(rows())
        await asyncio.sleep(LOOK_EVERY_S)
