import tomllib
from pathlib import Path

import pytest

from harness.sample import Split
from harness.tasks import make_task
from harness.tasks import vocabulary as words
from harness.tasks.symbolic import ask, write
from harness.way import Way
from harness_training.data import make_batch, make_encode
from harness_training.recipe import Recipe, RecipeError, load_recipe
from harness_training.tokenizer import build_tokenizer

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
    recipe = recipe_with(tmp_path, '["search regex"]')
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


@pytest.mark.parametrize(
    "part",
    ['"index"', '"ngram_retrieval"', '"counting"', '"is_tree", parameters = { labels = 129 }'],
)
def test_rows_of_every_task_are_its_contexts_questions_and_demonstrations(tmp_path, part):
    path = tmp_path / "tiny" / "recipe.toml"
    path.parent.mkdir()
    text = RECIPE.replace('"assoc_recall"', part).replace("WAYS", '["search regex"]')
    path.write_text(text.replace("_size = 3", "_size = 5"))
    recipe, way = load_recipe(path), Way.parse("search regex")
    task = make_task(recipe.stages[0].mixture[0].task, size=5, **dict(parameters_of(recipe)))
    batch = make_batch(recipe, recipe.stages[0], 0, ENCODE)
    for row in range(4):
        sample = task.sample(Split.TRAIN, recipe.seed, row)
        length = len(sample.context.split())
        read = TOKENIZER.decode(batch.tokens_BL[row].tolist(), skip_special_tokens=False)
        assert read.startswith(f"{sample.context} <regex>")
        assert not batch.is_target_BL[row, : length + 1].any()
        worked = [
            f"{ask(one, way)} {' '.join(piece.text for piece in write(one.steps(way)))}"
            for one in sample.siblings()
        ]
        asked = [text for text in worked if text in read]
        assert len(asked) == min(2, len(worked))
        assert len(read.replace(" <pad>", "")) == len(" ".join([sample.context, *asked]))


def parameters_of(recipe: Recipe):
    return recipe.stages[0].mixture[0].parameters


def test_a_batch_is_a_function_of_recipe_and_step(tmp_path):
    recipe = recipe_with(tmp_path, '["direct", "cot", "search regex", "search dense"]')
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
        ('ways = ["direct"]', 'ways = ["regex"]', "unknown way 'regex'.*search regex"),
        ("seed = 3", "seed = 3\nspeed = 4", "speed"),
        ("[model]", "[model", "recipe.toml"),
        ("min_size = 3", "min_size = 4", "min_size"),
        ("max_questions = 2", "max_questions = 2, batch_size = 5", "batch_size 5"),
        ("max_questions = 2", "max_questions = 2, batch_size = 0", "batch_size 0"),
        ("max_steps = 6", "max_steps = 6\nnum_identity_layers = 1", "llama.*lstm"),
        (
            '"assoc_recall", ways = ["direct"]',
            '"counting", ways = ["search dense"]',
            "counting.*dense",
        ),
        ('"assoc_recall", ways = ["direct"]', '"copy", ways = ["cot"]', "copy.*cot"),
        ('ways = ["direct"]', 'ways = ["direct natural"]', "assoc_recall.*direct natural"),
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
    recipes = sorted(Path("checkpoints").rglob("recipe.toml"))
    assert recipes
    for path in recipes:
        models = tomllib.loads(path.read_text()).get("models", [None])
        assert {load_recipe(path, model).name for model in models} == {path.parent.name}
