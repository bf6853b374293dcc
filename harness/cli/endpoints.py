"""`harness endpoints`: who can be asked, and whether they answer."""

import asyncio
from collections import defaultdict
from pathlib import Path

import click
from harnessapi.values import ModelDescription

from harness.cli.dependencies import Dependencies, dependencies, read_endpoints
from harness.cli.lazy import LazyCommand, LazyGroup
from harness.cli.shared_options import ENDPOINT_NAME, ENDPOINTS_FILE
from harness.cli.signals import run_until_signal
from harness.endpoints.config import Endpoint
from harness.errors import HarnessError, UnreachableError, printable
from harness.fleet.fleet import open_fleet

# What an endpoint said of its model, or why it did not.
Found = ModelDescription | HarnessError


@click.command("list")
@ENDPOINTS_FILE
def list_command(endpoints_file: Path | None) -> None:
    """List the endpoints and the file that they come from; nothing is started."""
    file = read_endpoints(endpoints_file)
    click.echo(f"{file.path}:")
    width = max(len(endpoint.name) for endpoint in file.endpoints)
    for endpoint in file.endpoints:
        kind = "served here" if endpoint.checkpoint else "connects to"
        channel = "  with its search channel" if endpoint.retrieval else ""
        click.echo(f"  {endpoint.name:<{width}}  {kind}: {endpoint.place}{channel}")


@click.command("check")
@click.argument("name", type=ENDPOINT_NAME, required=False)
@ENDPOINTS_FILE
@click.pass_context
def check_command(ctx: click.Context, name: str | None, endpoints_file: Path | None) -> None:
    """Ask NAME, or every endpoint, what it serves; local ones are started and stopped.

    Exit status: 0 all answer; 2 one was refused, by us or by its server; 3 one could
    not be reached.

    \b
      harness endpoints check rnn-rag
    """
    endpoints = read_endpoints(endpoints_file).select([name or "all"])
    found: dict[str, Found] = {}
    run_until_signal(_check_all(endpoints, dependencies(ctx), found))
    for endpoint in endpoints:
        click.echo(printable(_describe(endpoint, found[endpoint.name])))
    failed = dict.fromkeys(error for error in found.values() if isinstance(error, HarnessError))
    if len(failed) == 1:
        raise next(iter(failed))
    if failed:
        lines = "\n".join(str(error) for error in failed)
        raise UnreachableError(f"not all endpoints answered:\n{lines}")


async def _check_all(
    endpoints: tuple[Endpoint, ...],
    given: Dependencies,
    found: dict[str, ModelDescription | HarnessError],
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
                found.update({name: one.model for name, one in opened.connections.items()})
                found.update(opened.failures)
        except HarnessError as error:
            found.update({endpoint.name: error for endpoint in group})

    groups: dict[str, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        groups[endpoint.place].append(endpoint)
    await asyncio.gather(*(check(group) for group in groups.values()))


def _say(text: str, *, is_warning: bool = False) -> None:  # noqa: ARG001
    click.echo(printable(text), err=True)


def _describe(endpoint: Endpoint, found: Found) -> str:
    if isinstance(found, HarnessError):
        return f"{endpoint.name}: failed"
    modes = ", ".join(found.modes) if endpoint.retrieval else "off"
    if endpoint.external is not None:
        return _describe_external(endpoint.name, found, modes)
    return "\n  ".join(
        [
            f"{endpoint.name}: healthy",
            f"model       {found.name}, {found.family}, {found.num_parameters:,} parameters",
            f"state       {_state(found)}, {found.num_slots} at once",
            f"checkpoint  {found.checkpoint_digest}",
            f"search      {modes or 'none'}",
            f"styles      {', '.join(found.styles)}",
            f"trained on  {', '.join(found.trained_tasks) or 'not said'}",
            f"engine      {found.engine} {found.engine_version}, {_dtype(found)}, {found.device}",
        ]
    )


def _dtype(found: ModelDescription) -> str:
    if found.stored_dtype in ("", found.dtype):
        return found.dtype
    return f"{found.dtype} (stored as {found.stored_dtype})"


def _describe_external(name: str, found: ModelDescription, modes: str) -> str:
    limit = "" if found.context_limit is None else f", {found.context_limit:,} tokens of context"
    return "\n  ".join(
        [
            f"{name}: answers",
            f"model       {found.name}, {found.family}{limit}",
            f"search      {modes}",
            f"styles      {', '.join(found.styles)}",
            f"engine      {found.engine}",
        ]
    )


def _state(found: ModelDescription) -> str:
    state = f"{found.state_bytes:,} bytes a sequence"
    if found.state_bytes_per_token:
        state += f" and {found.state_bytes_per_token:,} for each token of its context"
    return state


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
