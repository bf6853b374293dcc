"""`harness serve retrieval`, also as `python -m harness_retrieval.command`."""

import asyncio

import click
from harnessapi.devices import AUTO, DEVICES, DeviceError
from harnessapi.observing.logs import say_listening
from harnessapi.observing.observing_options import ObservingChoice, observing_options
from harnessapi.programs import MissingExtraError, refusing, require_extra
from harnessapi.rpc.secret_files import SecurityError
from harnessapi.rpc.security_options import ListeningChoice, listening_options
from harnessapi.rpc.targets import TargetError, parse_target


@click.command("retrieval")
@click.option(
    "--listen",
    default="127.0.0.1:50052",
    show_default=True,
    metavar="ADDRESS",
    help="unix:/path or host:port.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=AUTO,
    show_default=True,
    help="Where FAISS compares passages; auto: on a GPU where FAISS sees one.",
)
@listening_options
@observing_options
@click.option("--corpora", hidden=True)
def retrieval_command(
    *,
    listen: str,
    device: str,
    listening: ListeningChoice,
    observing: ObservingChoice,
    corpora: str | None,
) -> None:
    """Serve the search until Ctrl-C or SIGTERM.

    \b
      harness serve retrieval
      harness serve retrieval --listen unix:/run/search.sock
      harness serve retrieval --device cuda
      harness serve retrieval --listen 0.0.0.0:50052 \\
        --tls-cert cert.pem --tls-key key.pem --token-file tokens

    Where other machines reach it, it needs TLS and a token, or --insecure (docs/trust.md).
    """
    if corpora is not None:
        click.echo(f"--corpora {corpora} is ignored: standing corpora are gone", err=True)
    with refusing(MissingExtraError, TargetError, DeviceError, SecurityError):
        require_extra("retrieval", "serving the search")
        # FAISS and RE2 come with it: not for --help.
        from harness_retrieval.service import serve_until_signal  # noqa: PLC0415

        target = parse_target(listen)
        allowed = listening.listening(target)
        with observing.observing() as observed:
            asyncio.run(
                serve_until_signal(
                    target,
                    device=device,
                    listening=allowed,
                    observing=observed,
                    ready=lambda bound: say_listening(bound, observed.log_format),
                )
            )


if __name__ == "__main__":
    retrieval_command()
