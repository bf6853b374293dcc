"""`harness endpoints`: who can be asked, and whether they answer."""

import asyncio
from collections import defaultdict
from pathlib import Path

import click

from harness.cli.check_result import Checked, as_object, as_text
from harness.cli.conformance_check import check_conformance
from harness.cli.dependencies import Dependencies, dependencies, read_endpoints
from harness.cli.lazy import LazyCommand, LazyGroup
from harness.cli.shared_options import ENDPOINT_NAME, ENDPOINTS_FILE
from harness.cli.signals import run_until_signal
from harness.clients.connection import Connection
from harness.conformance.kit import WAIT_S
from harness.endpoints.endpoint import Endpoint
from harness.endpoints.installed import installed_endpoints
from harness.errors import HarnessError, UnreachableError, printable
from harness.fleet.fleet import open_fleet
from harness.plugins import package_of
from harness.runner.endpoint_check import check_endpoint


@click.command("list")
@ENDPOINTS_FILE
def list_command(endpoints_file: Path | None) -> None:
    """List the endpoints and the file that they come from; then those that packages bring.

    Nothing is started.
    """
    file = read_endpoints(endpoints_file)
    click.echo(f"{file.path}:")
    width = max(len(endpoint.name) for endpoint in file.endpoints)
    for endpoint in file.endpoints:
        kind = "served here" if endpoint.checkpoint else "connects to"
        channel = "  with its search channel" if endpoint.retrieval else ""
        click.echo(f"  {endpoint.name:<{width}}  {kind}: {endpoint.place}{channel}")
    for group in file.groups:
        if not group.found():
            click.echo(f"  {group.name:<{width}}  no checkpoint in {group.checkpoints} yet")
    for name, one in installed_endpoints().items():
        click.echo(f"{name}: brought by {package_of(one)}")


@click.command("check")
@click.argument("name", type=ENDPOINT_NAME, required=False)
@ENDPOINTS_FILE
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an endpoint.")
@click.option(
    "--conformance",
    is_flag=True,
    help="Hold a gRPC server, NAME or its ADDRESS (host:port, unix:/path), to every promise of the "
    "API.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0, min_open=True),
    default=WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="With --conformance: for one promise.",
)
@click.pass_context
def check_command(
    ctx: click.Context,
    /,
    *,
    name: str | None,
    endpoints_file: Path | None,
    as_json: bool,
    conformance: bool,
    wait_s: float,
) -> None:
    """Ask NAME, or every endpoint, what it serves, and one small question; local ones are
    started and stopped.

    Says what was learnt: whether the server lists the model, counts tokens, streams and
    takes stop strings, and which parameters it refuses. Servers of others get two or three
    requests of about 300 tokens.

    With --conformance a line a promise: its name, whether it was kept, what was seen and, where
    it was broken, what is right (docs/serve-your-own-model.md).

    Exit status: 0 all answer, or all promises were kept; 2 one was refused, by us or by its
    server, or a promise was broken; 3 one could not be reached.

    \b
      harness endpoints check rnn-rag
      harness endpoints check gpt --json
      harness endpoints check --conformance 127.0.0.1:50051
    """
    if conformance:
        if name is None:
            raise click.UsageError("--conformance needs the ADDRESS of a server, or a NAME", ctx)
        _check_conformance(ctx, name, endpoints_file, wait_s=wait_s, as_json=as_json)
        return
    endpoints = read_endpoints(endpoints_file).select([name or "all"])
    found: dict[str, Checked] = {}
    run_until_signal(_check_all(endpoints, dependencies(ctx), found))
    for endpoint in endpoints:
        describe = as_object if as_json else as_text
        click.echo(describe(endpoint, found[endpoint.name]))
    failed = {one.error: None for one in found.values() if one.error is not None}
    if len(failed) == 1:
        raise next(iter(failed))
    if failed:
        lines = "\n".join(str(error) for error in failed)
        raise UnreachableError(f"not all endpoints answered:\n{lines}")


def _check_conformance(
    ctx: click.Context, place: str, endpoints_file: Path | None, *, wait_s: float, as_json: bool
) -> None:
    given = dependencies(ctx)
    is_kept = check_conformance(place, endpoints_file, given, wait_s=wait_s, as_json=as_json)
    ctx.exit(0 if is_kept else 2)


async def _check_all(
    endpoints: tuple[Endpoint, ...], given: Dependencies, found: dict[str, Checked]
) -> None:
    """Endpoints of one place share a server; each place on its own, so that none hides another."""

    async def check(group: list[Endpoint]) -> None:
        try:
            async with open_fleet(
                group,
                _say,
                model_server=given.model_server,
                connect_timeout_s=given.connect_timeout_s,
            ) as opened:
                for name, connection in opened.connections.items():
                    found[name] = await _ask(connection)
                found.update({name: Checked(error=one) for name, one in opened.failures.items()})
        except HarnessError as error:
            found.update({endpoint.name: Checked(error=error) for endpoint in group})

    groups: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        groups[endpoint.place].append(endpoint)
    await asyncio.gather(*(check(group) for group in groups.values()))


async def _ask(connection: Connection) -> Checked:
    try:
        return Checked(model=connection.model, learnt=await check_endpoint(connection))
    except HarnessError as error:
        return Checked(model=connection.model, error=error)


def _say(text: str, *, is_warning: bool = False) -> None:  # noqa: ARG001
    click.echo(printable(text), err=True)


endpoints_group = LazyGroup(
    name="endpoints",
    help="List and check the endpoints.",
    table={
        "list": LazyCommand(
            target="harness.cli.endpoints:list_command", help="List the endpoints."
        ),
        "check": LazyCommand(
            target="harness.cli.endpoints:check_command", help="Ask them what they serve."
        ),
    },
)
