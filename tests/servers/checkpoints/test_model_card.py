"""What a checkpoint's card says to programs: written by trainings, read by servers."""

from pathlib import Path

import pytest

from harness.tasks import TASKS
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.checkpoints.model_card import read_trained_tasks
from harness_servers.errors import CheckpointError
from harness_training.card import front_matter
from harness_training.recipe import load_recipe

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"
SHIPPED = sorted(path.name for path in CHECKPOINTS.iterdir())


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
    assert read_trained_tasks(tmp_path / "README.md") == tasks


def test_a_checkpoint_without_a_card_says_nothing(lstm_folder: Path) -> None:
    assert load_checkpoint(lstm_folder).trained_tasks == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\ntrained_tasks: copy\n---\n", "trained_tasks is 'copy'"),
        ("---\ntrained_tasks: [copy,]\n---\n", "trained_tasks is '[copy,]'"),
        ("---\ntrained_tasks:\n- copy\n---\n", "trained_tasks is ''"),
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
    assert (after.trained_tasks, after.digest) == (("copy",), before.digest)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_names_the_tasks_of_its_recipe(name: str) -> None:
    recipe = load_recipe(CHECKPOINTS / name / "recipe.toml")
    card = CHECKPOINTS / name / "README.md"
    assert card.read_text().startswith(front_matter(recipe))
    assert read_trained_tasks(card) == recipe.trained_tasks
    assert set(recipe.trained_tasks) <= set(TASKS)
