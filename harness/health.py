"""Asks a server of ours whether it is healthy: `python -m harness.health ADDRESS`.

For containers and scripts. It needs nothing but what the client needs, so every image has it.
"""

import click
from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.secret_files import SecurityError
from harnessapi.rpc.security_options import DialingChoice, dialing_options
from harnessapi.rpc.targets import TargetError, parse_target


@click.command("health")
@click.argument("address")
@click.option(
    "--timeout", default=3.0, show_default=True, metavar="SECONDS", help="To wait for its answer."
)
@dialing_options("", "HARNESS_TOKEN", "it")
def health_command(*, address: str, timeout: float, dialing: DialingChoice) -> None:
    """Is the server at ADDRESS (host:port or unix:/path) healthy?

    Exit status: 0 where it answers SERVING, else 1 with the reason.
    """
    try:
        target = parse_target(address)
        reason = why_not_healthy(target, timeout_s=timeout, dialing=dialing.dialing(target))
    except (TargetError, SecurityError) as error:
        raise click.ClickException(str(error)) from None
    if reason is not None:
        raise click.ClickException(f"{address}: {reason}")


if __name__ == "__main__":
    health_command()
