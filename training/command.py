"""`harness train`, also as `python -m harness_training.command`."""

from dataclasses import replace
from pathlib import Path

import click
from harnessapi.programs import MissingExtraError, refusing, require_extra

from harness_training.recipe import RecipeError, load_recipe
from harness_training.trained_contexts import budget_lines, trained_on


@click.command("train", no_args_is_help=True)
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="[default: the recipe's folder; of one for several models, NAME-SEED in it]",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("training-state"),
    show_default=True,
    help="Folder of what a stopped training goes on from.",
)
@click.option("--restart", is_flag=True, help="Forget an earlier stopped training.")
@click.option(
    "--model",
    "variant",
    metavar="NAME",
    help="Which of a recipe's models, where it is for several.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Of the first weights and of the contexts; another one is another training, with a state"
    " of its own. [default: the recipe's]",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Torch threads."
)
@click.option(
    "--count",
    type=click.IntRange(min=0),
    metavar="STEPS",
    help="Train nothing: print about how many contexts of each task and way so many steps read.",
)
@click.option(
    "--no-card",
    is_flag=True,
    help="Measure nothing: a card that is there stays, a new one says how it was trained.",
)
@click.pass_context
def train_command(
    ctx: click.Context,
    /,
    *,
    recipe: Path,
    out: Path | None,
    state: Path,
    restart: bool,
    seed: int | None,
    variant: str | None,
    threads: int,
    count: int | None,
    no_card: bool,
) -> None:
    """Train the checkpoint of RECIPE, measure it and write its model card.

    A training that was stopped goes on where it was: run the same command again.

    \b
      harness train checkpoints/rnn/recipe.toml
      harness train checkpoints/rnn/recipe.toml --out /tmp/rnn --threads 2
      harness train checkpoints/rnn/recipe.toml --count 26825
      harness train checkpoints/frontier/recipe.toml --model gru --seed 2 --no-card
      harness train checkpoints/rnn/rnn-chains/recipe.toml --seed 2 --out /tmp/rnn-2 --no-card

    \b
    Exit status: 0 done; 2 the recipe is wrong; 4 stopped, the same command goes on.
    """
    if count is not None:
        with refusing(RecipeError):
            click.echo(budget_lines(trained_on(load_recipe(recipe, variant), count)), nl=False)
        return
    with refusing(MissingExtraError):
        require_extra("servers", "training")
    # Torch comes with them: not for --help.
    from harness_training.card import (  # noqa: PLC0415
        CardError,
        write_card,
        write_unmeasured_card,
    )
    from harness_training.trainer import train  # noqa: PLC0415

    with refusing(RecipeError):
        read = load_recipe(recipe, variant)
        folder, name = recipe.resolve().parent, read.name
        if seed is not None:
            read = replace(read, seed=seed)
        if variant is not None:
            # All of a recipe's models learn from the same batches, each into a folder of its own.
            folder, name = folder / f"{variant}-{read.seed}", f"{name}-{variant}"
        folder = out or folder
        state_path = state / f"{name}{'' if seed is None else f'-seed{seed}'}.safetensors"
        if restart:
            state_path.unlink(missing_ok=True)
        is_done = train(read, folder, state_path, threads)
    if not is_done:
        click.echo(f"train: stopped; the same command goes on from {state_path}", err=True)
        ctx.exit(4)
    write = write_unmeasured_card if no_card else write_card
    try:
        write(read, folder, state_path)
    except CardError as error:
        click.echo(f"train: trained, but the card could not be written: {error}", err=True)
        ctx.exit(4)


if __name__ == "__main__":
    train_command()
