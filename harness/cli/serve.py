"""`harness serve`: becomes one server process."""

import click

from harness.cli.lazy import LazyCommand, LazyGroup
from harness.cli.processes import as_arguments, become
from harness.fleet.extras import require_extra


@click.command("model", no_args_is_help=True)
@click.argument("checkpoint", type=click.Path(exists=True, file_okay=False))
@click.option("--listen", default="127.0.0.1:50051", show_default=True, metavar="ADDRESS")
@click.option(
    "--backend",
    type=click.Choice(["auto", "engine", "vllm", "transformers"]),
    help="What runs the model; its model_type decides by default.",
)
@click.option("--retrieval", metavar="ADDRESS", help="A search service; in process without it.")
@click.option("--slots", type=click.IntRange(min=1), help="Sequences decoded at once.")
@click.option("--max-prompt-tokens", type=click.IntRange(min=1), help="Longer ones are refused.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the model.")
@click.option("--name", help="What GetModel calls it.  [default: the folder's name]")
def model_command(checkpoint: str, listen: str, **options: str | int | None) -> None:
    """Serve CHECKPOINT until Ctrl-C or SIGTERM.

    \b
      harness serve model checkpoints/rnn
      harness serve model checkpoints/rnn --listen unix:/run/rnn.sock
      harness serve model checkpoints/rnn --retrieval 127.0.0.1:50052
    """
    require_extra("servers", "serving a model")
    if options["retrieval"] is None:
        require_extra("retrieval", "searching in process")
    become("harness_servers.command", [checkpoint, "--listen", listen, *as_arguments(options)])


@click.command("retrieval")
@click.option("--listen", default="127.0.0.1:50052", show_default=True, metavar="ADDRESS")
@click.option("--corpora", hidden=True)
def retrieval_command(listen: str, corpora: str | None) -> None:
    """Serve the search until Ctrl-C or SIGTERM.

    \b
      harness serve retrieval
      harness serve retrieval --listen unix:/run/search.sock
    """
    require_extra("retrieval", "serving the search")
    become("harness_retrieval.command", ["--listen", listen, *as_arguments({"corpora": corpora})])


serve_group = LazyGroup(
    name="serve",
    help="Serve one checkpoint, or the search, until Ctrl-C or SIGTERM.",
    table={
        "model": LazyCommand(
            target="harness.cli.serve:model_command", help="Serve one checkpoint."
        ),
        "retrieval": LazyCommand(
            target="harness.cli.serve:retrieval_command", help="Serve the search."
        ),
    },
)
