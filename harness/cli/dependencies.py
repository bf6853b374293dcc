"""What the commands use that a test replaces: given as Click's `obj`."""

from dataclasses import dataclass
from pathlib import Path

import click

from harness.clients.connection import CONNECT_TIMEOUT_S
from harness.endpoints.config import EndpointFile, load_endpoints
from harness.fleet.plans import MODEL_SERVER, Program


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependencies:
    """`model_server` takes a checkpoint's folder as its argument."""

    model_server: Program = MODEL_SERVER
    # How long a server that is not ours has to become healthy.
    connect_timeout_s: float = CONNECT_TIMEOUT_S


def dependencies(ctx: click.Context) -> Dependencies:
    """The real ones, unless the caller of the command line gave others."""
    found = ctx.find_object(Dependencies)
    return found if found is not None else Dependencies()


def read_endpoints(path: Path | None) -> EndpointFile:
    """The endpoints as the commands see them: --endpoints, ./endpoints.toml, the packaged ones."""
    return load_endpoints(path, Path.cwd())
