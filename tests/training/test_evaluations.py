"""What the shipped recipes measure is what `harness eval` takes: a training ends with it."""

import shlex
from pathlib import Path

import pytest

from harness.cli.eval import eval_command
from harness_training.recipe import load_recipe

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
RECIPES = [
    *((path, None) for path in sorted(CHECKPOINTS.glob("*/model.safetensors"))),
    (CHECKPOINTS / "frontier" / "recipe.toml", "gru"),
]


@pytest.mark.parametrize(("path", "variant"), RECIPES, ids=lambda value: str(value)[-40:])
def test_every_evaluation_of_a_recipe_can_be_asked(path: Path, variant: str | None) -> None:
    recipe = load_recipe(path.with_name("recipe.toml"), variant)
    assert recipe.evaluations
    for evaluation in recipe.evaluations:
        eval_command.make_context("eval", shlex.split(evaluation))
