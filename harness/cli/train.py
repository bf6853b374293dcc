"""`harness train`: makes a checkpoint."""

import click

from harness.cli.processes import as_arguments, become
from harness.fleet.extras import require_extra


@click.command("train", no_args_is_help=True)
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False))
@click.option("--out", type=click.Path(file_okay=False), help="[default: the recipe's folder]")
@click.option(
    "--state",
    type=click.Path(file_okay=False),
    help="Folder of what a stopped training goes on from.  [default: training-state]",
)
@click.option("--restart", is_flag=True, help="Forget an earlier stopped training.")
@click.option("--threads", type=click.IntRange(min=1), help="Torch threads.  [default: 1]")
@click.option("--no-card", is_flag=True, help="Do not measure and write the model card.")
def train_command(recipe: str, **options: object) -> None:
    """Train the checkpoint of RECIPE, measure it and write its model card.

    A training that was stopped goes on where it was: run the same command again.

    \b
      harness train checkpoints/rnn/recipe.toml
      harness train checkpoints/rnn/recipe.toml --out /tmp/rnn --threads 2
    """
    require_extra("servers", "training")
    become("harness_training.command", [recipe, *as_arguments(options)])
