"""`harness serve openai`: endpoints of endpoints.toml behind the OpenAI API."""

from dataclasses import dataclass
from pathlib import Path

import click
from harnessapi.programs import MissingExtraError, refusing, require_extra
from harnessapi.rpc.targets import Target, TargetError, parse_target
from harnessapi.values import Mode

from harness.cli.dependencies import Dependencies, dependencies, read_endpoints
from harness.cli.shared_options import ENDPOINT_NAME, ENDPOINTS_FILE, QUIET, CommaList
from harness.cli.signals import StoppedError, run_until_signal
from harness.endpoints.config import require_checkpoints
from harness.endpoints.endpoint import Endpoint
from harness.errors import InputError, printable
from harness.fleet.fleet import all_failed, open_fleet
from harness.fleet.local_server import Say


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What the command line says."""

    endpoints: tuple[Endpoint, ...]
    target: Target
    retrieval: str | None
    deadline_s: float


@click.command("openai", no_args_is_help=True)
@click.option(
    "--endpoint",
    "names",
    type=CommaList(ENDPOINT_NAME, "NAME,..."),
    required=True,
    help="Endpoints to serve, each a model under its name.",
)
@click.option(
    "--listen",
    default="127.0.0.1:8000",
    show_default=True,
    metavar="ADDRESS",
    help="host:port, or unix:/path; port 0: any that is free.",
)
@click.option(
    "--retrieval",
    type=click.Choice([*(mode.value for mode in Mode), "none"]),
    help="The kind of search of endpoints that have their channel.  [default: dense]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    help="Seconds that one completion may take.",
)
@QUIET
@ENDPOINTS_FILE
@click.pass_context
def openai_command(
    ctx: click.Context,
    /,
    *,
    names: tuple[str, ...],
    listen: str,
    retrieval: str | None,
    deadline: float,
    quiet: bool,
    endpoints_file: Path | None,
) -> None:
    """Serve endpoints over the OpenAI API, until Ctrl-C or SIGTERM.

    Starts what has to be started. /v1/models, /v1/completions and /v1/chat/completions; who
    asks nothing of searches gets them where the endpoint has its channel. No key is asked for.

    \b
      harness serve openai --endpoint rnn-rag
      harness serve openai --endpoint rnn,rnn-rag --listen 127.0.0.1:9000
      curl http://127.0.0.1:8000/v1/models

    See docs/openai-server.md. Exit status: 0 told to stop; 2 a wrong endpoint or address; 3 an
    endpoint could not be reached.
    """
    with refusing(MissingExtraError, TargetError):
        require_extra("openai-server", "serving the OpenAI API")
        target = parse_target(listen)
    endpoints = read_endpoints(endpoints_file).select(names)
    _refuse_others(endpoints)
    require_checkpoints(endpoints)

    def say(text: str, *, is_warning: bool = False) -> None:
        if is_warning or not quiet:
            click.echo(printable(text), err=True)

    asked = _Asked(endpoints=endpoints, target=target, retrieval=retrieval, deadline_s=deadline)
    try:
        run_until_signal(_serve(asked, dependencies(ctx), say))
    except StoppedError as stopped:
        say(f"{stopped}")


def _refuse_others(endpoints: tuple[Endpoint, ...]) -> None:
    for endpoint in endpoints:
        if endpoint.external is not None:
            raise InputError(
                f"endpoint '{endpoint.name}' speaks the OpenAI API already: "
                f"ask it at {endpoint.address}"
            )
        if endpoint.has_replicas:
            raise InputError(
                f"endpoint '{endpoint.name}' has several addresses ({endpoint.place}): requests "
                "are passed on to one alone; make it an endpoint of its own"
            )


async def _serve(asked: _Asked, given: Dependencies, say: Say) -> None:
    """Raises InputError or UnreachableError where not all endpoints are there."""
    # Their libraries are not for --help.
    from harness.openai_server.app import Face  # noqa: PLC0415
    from harness.openai_server.listener import address, bound, listen  # noqa: PLC0415
    from harness.openai_server.upstream import upstream  # noqa: PLC0415

    # An address that is taken is said before anything is started.
    with bound(asked.target) as listening:
        async with open_fleet(
            asked.endpoints,
            say,
            model_server=given.model_server,
            connect_timeout_s=given.connect_timeout_s,
        ) as opened:
            if opened.failures:
                raise all_failed(opened.failures.values())
            upstreams = {
                name: upstream(connection, asked.retrieval, deadline_s=asked.deadline_s)
                for name, connection in opened.connections.items()
            }
            where = address(asked.target, listening)
            names = ", ".join(upstreams)
            await listen(Face(upstreams).app(), listening, lambda: say(f"{names} at {where}"))
