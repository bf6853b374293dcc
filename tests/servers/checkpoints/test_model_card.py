"""What a checkpoint's card says to programs: written by trainings, read by servers."""

import re
from pathlib import Path

import pytest
from harnessapi.values import TrainedBy

from harness.tasks import TASKS
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.checkpoints.model_card import ModelCard, read_card, training_line
from harness_servers.errors import CheckpointError
from harness_training.card import front_matter
from harness_training.recipe import load_recipe
from harness_training.trained_contexts import trained_on

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"
# Of a recipe for many models each has a folder within the recipe's.
SHIPPED = sorted(path.parent.name for path in CHECKPOINTS.glob("*/model.safetensors"))


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("---\nlicense: mit\ntrained_tasks: [copy,  needle ]\n---\n# model\n", ("copy", "needle")),
        ("---\ntrained_tasks: []\n---\n", ()),
        ("---\nlicense: mit\n---\ntrained_tasks: [copy]\n", ()),
        ("# model\n---\ntrained_tasks: [copy]\n---\n", ()),
        ("", ()),
    ],
)
def test_the_list_is_read_from_the_front_matter_alone(
    tmp_path: Path, text: str, tasks: tuple[str, ...]
) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_card(tmp_path / "README.md").trained_tasks == tasks


def test_a_checkpoint_without_a_card_says_nothing(lstm_folder: Path) -> None:
    assert load_checkpoint(lstm_folder).card == ModelCard()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\ntrained_tasks: copy\n---\n", "trained_tasks is 'copy'"),
        ("---\ntrained_tasks: [copy,]\n---\n", "trained_tasks is '[copy,]'"),
        ("---\ntrained_tasks:\n- copy\n---\n", "trained_tasks is ''"),
        ("---\ntrained_on: {copy: 1}\n---\n", "a line of its own for each task of trained_on"),
        ("---\ntrained_on:\n  copy: {cot: many}\n---\n", "trained_on has 'copy: {cot: many}'"),
        ("---\ntrained_on:\n  copy: {}\n---\n", "trained_on has 'copy: {}'"),
        ("---\ntrained_by: gru 1\n---\n", "trained_by is 'gru 1'; {\"recipe\": "),
        ('---\ntrained_by: {"recipe": "a"}\n---\n', 'trained_by is \'{"recipe": "a"}\''),
        ('---\ntrained_by: {"recipe": "a", "seed": -1}\n---\n', "trained_by is "),
        ("---\nlicense: mit\n", "its front matter has no end"),
    ],
)
def test_what_is_no_list_of_names_is_refused_by_name(
    lstm_folder: Path, text: str, words: str
) -> None:
    (lstm_folder / "README.md").write_text(text)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(lstm_folder)
    assert f"README.md: {words}" in str(caught.value)


def test_the_card_is_no_part_of_the_digest(lstm_folder: Path) -> None:
    before = load_checkpoint(lstm_folder)
    (lstm_folder / "README.md").write_text("---\ntrained_tasks: [copy]\n---\n")
    after = load_checkpoint(lstm_folder)
    assert (after.card.trained_tasks, after.digest) == (("copy",), before.digest)


def test_budgets_are_read_by_task_and_way_and_other_keys_passed_over(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text(
        "---\nmodel-index:\n  copy: [1]\ntrained_on:\n  copy: {direct: 12, search regex: 3}\n"
        "  needle: { cot:  7 }\nlicense: mit\nother:\n  copy: {cot: 1}\n---\n"
    )
    assert [(one.task, one.way, one.contexts) for one in read_card(card).trained_on] == [
        ("copy", "direct", 12),
        ("copy", "search regex", 3),
        ("needle", "cot", 7),
    ]


@pytest.mark.parametrize(
    "training",
    [
        TrainedBy(recipe="frontier", model="gru", seed=2),
        TrainedBy(recipe="a folder: of ours", seed=0),
    ],
)
def test_recipe_model_and_seed_are_read_as_they_were_written(
    tmp_path: Path, training: TrainedBy
) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"---\n{training_line(training)}other: 1\n---\n")
    assert read_card(card) == ModelCard(trained_by=training)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_names_the_tasks_and_budgets_of_its_recipe(name: str) -> None:
    recipe = load_recipe(CHECKPOINTS / name / "recipe.toml")
    card = CHECKPOINTS / name / "README.md"
    steps = re.search(r"^([\d,]+) steps of at most", card.read_text(), re.MULTILINE)
    assert steps is not None
    num_steps = int(steps[1].replace(",", ""))
    assert card.read_text().startswith(front_matter(recipe, num_steps))
    assert read_card(card).trained_tasks == recipe.trained_tasks
    assert read_card(card).trained_on == trained_on(recipe, num_steps)
    assert read_card(card).trained_by == recipe.trained_by
    assert set(recipe.trained_tasks) <= set(TASKS)
