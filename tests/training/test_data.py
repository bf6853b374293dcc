from pathlib import Path

import pytest

from harness.tasks import vocabulary as words
from training.data import make_batch, make_encode
from training.recipe import Recipe, RecipeError, load_recipe
from training.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()
ENCODE = make_encode(TOKENIZER)

RECIPE = """
seed = 3
batch_size = 4
learning_rate = 1e-3
[model]
model_type = "lstm"
hidden_size = 8
num_hidden_layers = 1
[[stage]]
max_steps = 6
mixture = [{ task = "assoc_recall", ways = WAYS, min_size = 3, max_size = 3, max_questions = 2 }]
"""


def recipe_with(tmp_path: Path, ways: str) -> Recipe:
    path = tmp_path / "tiny" / "recipe.toml"
    path.parent.mkdir()
    path.write_text(RECIPE.replace("WAYS", ways))
    return load_recipe(path)


def target_text(recipe: Recipe, row: int) -> str:
    batch = make_batch(recipe, recipe.stages[0], 0, ENCODE)
    ids = batch.tokens_BL[row][batch.is_target_BL[row]].tolist()
    return TOKENIZER.decode(ids, skip_special_tokens=False)


def test_the_model_is_trained_on_what_it_writes_and_never_on_what_a_search_inserts(tmp_path):
    recipe = recipe_with(tmp_path, '["regex"]')
    for row in range(4):
        query, first_answer, _, second = target_text(recipe, row).split("<")[1:5]
        assert query.startswith("search> ")
        assert first_answer == "/search> "
        assert second.startswith("eos>")
    batch = make_batch(recipe, recipe.stages[0], 0, ENCODE)
    end = ENCODE(words.SEARCH_END)[0]
    after_query = (batch.tokens_BL == end).nonzero()
    assert len(after_query) == 8
    assert not any(batch.is_target_BL[row, column + 1] for row, column in after_query.tolist())


def test_prompts_are_no_targets(tmp_path):
    recipe = recipe_with(tmp_path, '["direct"]')
    for row in range(4):
        pieces = target_text(recipe, row).split()
        assert pieces[0::3] == [words.ANSWER] * 2
        assert pieces[2::3] == [words.EOS] * 2
        assert set(pieces[1::3]) <= set(words.VALUES)


def test_a_batch_is_a_function_of_recipe_and_step(tmp_path):
    recipe = recipe_with(tmp_path, '["direct", "cot", "regex", "dense"]')
    first, again, other = (make_batch(recipe, recipe.stages[0], step, ENCODE) for step in (5, 5, 6))
    assert first.tokens_BL.equal(again.tokens_BL)
    assert not first.tokens_BL.equal(other.tokens_BL)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("seed = 3\n", "", "seed"),
        ('"assoc_recall"', '"assoc_recal"', "assoc_recall"),
        ("max_size = 3", "max_size = 999", "999"),
        ('ways = ["direct"]', 'ways = ["telepathy"]', "telepathy"),
        ("seed = 3", "seed = 3\nspeed = 4", "speed"),
        ("[model]", "[model", "recipe.toml"),
        ("min_size = 3", "min_size = 4", "min_size"),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_error_names_what_is_wrong(
    tmp_path, before, after, named
):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("WAYS", '["direct"]').replace(before, after))
    with pytest.raises(RecipeError, match=named):
        load_recipe(path)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(RecipeError, match="nowhere"):
        load_recipe(tmp_path / "nowhere.toml")


def test_the_shipped_recipes_are_readable():
    recipes = sorted(Path("checkpoints").glob("*/recipe.toml"))
    assert recipes
    for path in recipes:
        assert load_recipe(path).name == path.parent.name
