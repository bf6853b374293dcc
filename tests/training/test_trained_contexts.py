"""How much of each task and way a training read, told from its recipe and its steps."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness_training.command import train_command
from harness_training.data import make_batch, make_encode
from harness_training.recipe import Recipe, load_recipe
from harness_training.tokenizer import build_tokenizer
from harness_training.trained_contexts import budget_lines, stage_lengths, trained_on

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
ENCODE = make_encode(build_tokenizer())
RECIPE = """
seed = 3
batch_size = 4
learning_rate = 1e-3
[model]
model_type = "lstm"
hidden_size = 8
num_hidden_layers = 1
[[stage]]
max_steps = 300
until_accuracy = 0.9
mixture = [{ task = "assoc_recall", ways = ["direct"], min_size = 2, max_size = 2 }]
[[stage]]
max_steps = 100
until_accuracy = 0.9
mixture = [{ task = "assoc_recall", ways = ["direct"], min_size = 2, max_size = 2 }]
[[stage]]
max_steps = 500
mixture = [
    { task = "assoc_recall", ways = ["direct", "cot"], max_size = 4, max_questions = 3, weight = 3},
    { task = "index", ways = ["cot", "cot", "cot", "search regex"], max_size = 4, batch_size = 2 },
]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    path = tmp_path / "tiny" / "recipe.toml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return load_recipe(path)


def counted(recipe: Recipe, steps: range) -> Counter[tuple[str, str]]:
    """The slow, obvious one: the ways whose marks stand in the rows of the batches themselves."""
    marks = {ENCODE(f"<{way}>")[0]: name for way, name in WAYS.items()}
    names = {ENCODE(name)[0]: name for name in ("assoc_recall", "index")}
    found: Counter[tuple[str, str]] = Counter()
    for step in steps:
        for row in make_batch(recipe, recipe.stages[2], step, ENCODE).tokens_BL.tolist():
            found.update((names[row[0]], marks[mark]) for mark in {*row} & marks.keys())
    return found


WAYS = {"direct": "direct", "cot": "cot", "regex": "search regex"}


def test_what_is_expected_of_a_recipe_is_about_what_its_batches_ask(recipe: Recipe) -> None:
    told = trained_on(replace(recipe, stages=recipe.stages[2:]), 500)
    expected = {(one.task, one.way): one.contexts for one in told}
    real = counted(recipe, range(500))
    assert real.keys() == expected.keys()
    for key, contexts in expected.items():
        assert real[key] == pytest.approx(contexts, rel=0.25)


def test_stages_that_end_by_accuracy_share_the_steps_that_the_others_leave(recipe: Recipe) -> None:
    assert stage_lengths(recipe, 580) == [60, 20, 500]
    assert stage_lengths(recipe, 900) == [300, 100, 500]
    # Steps of a stage that the recipe has shortened since.
    assert stage_lengths(recipe, 400) == [0, 0, 500]
    assert stage_lengths(recipe, 2000) == [300, 100, 500]


def test_steps_of_an_added_stage_come_on_top_of_what_was_read_before(recipe: Recipe) -> None:
    """As in a training that goes on from weights alone: its state knows the number of steps."""
    before = {(one.task, one.way): one.contexts for one in trained_on(recipe, 580)}
    longer = replace(recipe, stages=(*recipe.stages, recipe.stages[2]))
    after = {(one.task, one.way): one.contexts for one in trained_on(longer, 1080)}
    assert after["index", "cot"] == pytest.approx(2 * before["index", "cot"], abs=1)
    assert after["assoc_recall", "direct"] - before["assoc_recall", "direct"] == pytest.approx(
        before["assoc_recall", "direct"] - 4 * 80, abs=1
    )


@pytest.mark.parametrize(
    ("name", "steps", "contexts"),
    [("rnn", 38_025, 375_962), ("ssm", 14_481, 427_220), ("hybrid", 80_410, 917_658)],
)
def test_chains_of_thought_about_trees_in_shipped_recipes(
    name: str, steps: int, contexts: int
) -> None:
    """Figures that were counted by hand."""
    told = trained_on(load_recipe(CHECKPOINTS / name / "recipe.toml"), steps)
    assert [one.contexts for one in told if (one.task, one.way) == ("is_tree", "cot")] == [contexts]


def test_a_count_is_printed_and_nothing_is_trained(recipe: Recipe, tmp_path: Path) -> None:
    state = tmp_path / "state"
    result = CliRunner().invoke(
        train_command, [str(recipe.path), "--count", "580", "--state", str(state)]
    )
    assert (result.exit_code, result.output) == (0, budget_lines(trained_on(recipe, 580)))
    assert result.output.startswith("trained_on:\n  assoc_recall: {direct: ")
    assert not state.exists()
    assert [path.name for path in recipe.path.parent.iterdir()] == ["recipe.toml"]
