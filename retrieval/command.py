"""`harness serve retrieval`, also as `python -m harness_retrieval.command`."""

import asyncio
from pathlib import Path

import click
from harnessapi.programs import MissingExtraError, refusing, require_extra
from harnessapi.rpc.targets import Target, TargetError, parse_target

from harness_retrieval.errors import CorporaUnavailableError


@click.command("retrieval")
@click.option(
    "--listen",
    default="127.0.0.1:50052",
    show_default=True,
    metavar="ADDRESS",
    help="unix:/path or host:port.",
)
@click.option(
    "--corpora",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the standing corpora.",
)
def retrieval_command(listen: str, corpora: Path | None) -> None:
    """Serve the search until Ctrl-C or SIGTERM.

    \b
      harness serve retrieval
      harness serve retrieval --listen unix:/run/search.sock --corpora corpora
    """
    with refusing(MissingExtraError, TargetError, CorporaUnavailableError):
        require_extra("retrieval", "serving the search")
        # FAISS and RE2 come with it: not for --help.
        from harness_retrieval.service import serve_until_signal  # noqa: PLC0415

        asyncio.run(
            serve_until_signal(parse_target(listen), corpora_dir=corpora, ready=_say_listening)
        )


def _say_listening(target: Target) -> None:
    click.echo(f"listening on {target}", err=True)


if __name__ == "__main__":
    retrieval_command()
