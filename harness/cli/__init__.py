"""The command line. Importing it imports Click and nothing heavier; commands load when run."""

from typing import Final

import click

from harness.cli.lazy import LazyCommand, LazyGroup

_HELP: Final = """Can a sequence model find what is in its own context, and what does it take?

Serves a checkpoint (or uses a server that runs), gives recurrent models a search channel into
their own context, sends generated prompts and scores exact answers.

\b
  harness eval --endpoint rnn-rag --task assoc_recall
  harness eval --endpoint rnn,rnn-rag --task all --size 4,16,64 --json
  harness tasks sample assoc_recall --size 4
  harness endpoints check

\b
Exit status: 0 done; 2 the command was wrong; 3 an endpoint could not be
reached; 4 the run is incomplete (what was done is stored, --resume goes on).
"""

_COMMANDS: Final = {
    "eval": LazyCommand(
        target="harness.cli.eval:eval_command",
        help="Ask endpoints the samples of tasks, score the answers.",
    ),
    "report": LazyCommand(
        target="harness.cli.report:report_command", help="Show stored runs: tables, plots, samples."
    ),
    "compare": LazyCommand(
        target="harness.cli.compare:compare_command", help="Compare two runs sample by sample."
    ),
    "export": LazyCommand(
        target="harness.cli.export:export_command", help="Write the samples of runs as a table."
    ),
    "merge": LazyCommand(
        target="harness.cli.merge:merge_command", help="Join the shards of a run into one run."
    ),
    "rescore": LazyCommand(
        target="harness.cli.rescore:rescore_command",
        help="Score the answers of a stored run anew, without a model.",
    ),
    "tasks": LazyCommand(
        target="harness.cli.tasks:tasks_group", help="List, show and sample the tasks."
    ),
    "endpoints": LazyCommand(
        target="harness.cli.endpoints:endpoints_group", help="List and check the endpoints."
    ),
    "up": LazyCommand(
        target="harness.cli.up:up_command", help="Start the local endpoints and stay there."
    ),
    "serve": LazyCommand(
        target="harness.cli:serve_group",
        help="Serve one checkpoint, the search, or the OpenAI API.",
    ),
    "train": LazyCommand(
        target="harness_training.command:train_command", help="Train a checkpoint from its recipe."
    ),
}

serve_group: Final = LazyGroup(
    name="serve",
    help="Serve one checkpoint, the search, or the OpenAI API, until Ctrl-C or SIGTERM.",
    table={
        "model": LazyCommand(
            target="harness_servers.command:model_command", help="Serve one checkpoint."
        ),
        "retrieval": LazyCommand(
            target="harness_retrieval.command:retrieval_command", help="Serve the search."
        ),
        "openai": LazyCommand(
            target="harness.cli.serve_openai:openai_command",
            help="Serve endpoints over the OpenAI API.",
        ),
    },
)


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from harness.version import harness_version  # noqa: PLC0415  (it reads the disk)

        click.echo(f"harness {harness_version()}")
        ctx.exit()


main = LazyGroup(table=_COMMANDS, name="harness", help=_HELP)
main.params.append(
    click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version and exit.",
    )
)
