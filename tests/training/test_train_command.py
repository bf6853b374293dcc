from pathlib import Path

import pytest
from click.testing import CliRunner
from harnessapi.values import TrainedBy
from safetensors.torch import load_file

from harness_servers.checkpoints.model_card import read_card
from harness_training.command import train_command

RECIPE = """
seed = 3
batch_size = 2
learning_rate = 1e-2
[model]
model_type = "lstm"
hidden_size = 8
num_hidden_layers = 1
[[stage]]
max_steps = 2
mixture = [{ task = "assoc_recall", ways = ["direct"], max_size = 2 }]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny" / "recipe.toml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return path


def test_another_seed_is_another_training_with_a_state_of_its_own(recipe: Path) -> None:
    root = recipe.parent.parent

    def train(out: str, *more: str) -> bytes:
        arguments = [str(recipe), "--out", str(root / out), "--state", str(root), "--no-card"]
        result = CliRunner().invoke(train_command, [*arguments, *more])
        assert result.exit_code == 0, result.output
        return load_file(root / out / "model.safetensors")["embedding.weight"].numpy().tobytes()

    weights = train("own")
    assert train("three", "--seed", "3") == weights
    assert train("four", "--seed", "4") != weights
    states = {path.name for path in root.glob("*.safetensors")}
    assert states == {"tiny.safetensors", "tiny-seed3.safetensors", "tiny-seed4.safetensors"}


def test_a_checkpoint_says_which_training_made_it_and_keeps_the_card_of_that(recipe: Path) -> None:
    root = recipe.parent.parent

    def train(seed: int) -> Path:
        arguments = [str(recipe), "--out", str(root / "out"), "--state", str(root), "--no-card"]
        result = CliRunner().invoke(train_command, [*arguments, "--seed", str(seed)])
        assert result.exit_code == 0, result.output
        return root / "out" / "README.md"

    card = train(5)
    assert read_card(card).trained_by == TrainedBy(recipe="tiny", seed=5)
    assert read_card(card).trained_tasks == ("assoc_recall",)
    card.write_text(card.read_text() + "measured: 0.5\n")
    assert "measured" in train(5).read_text()
    # Its figures are of weights that are gone.
    assert "measured" not in train(6).read_text()
    assert read_card(card).trained_by == TrainedBy(recipe="tiny", seed=6)
    card.write_text("a card of before, which does not say\n")
    assert train(6).read_text() == "a card of before, which does not say\n"
    card.write_text("---\ntrained_by: 1\n---\n")
    again = [str(recipe), "--out", str(root / "out"), "--state", str(root), "--no-card"]
    result = CliRunner().invoke(train_command, again)
    assert result.exit_code == 4
    assert "trained_by is '1'" in result.output


def test_models_of_one_recipe_have_their_own_folders_and_learn_from_the_same(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent.parent)
    one = 'model_type = "lstm"\nhidden_size = 8\nnum_hidden_layers = 1\n'
    head, stages = recipe.read_text().split("[model]\n" + one)
    recipe.write_text(f"{head}[models.a]\n{one}[models.b]\n{one}{stages}")
    for name in ("a", "b"):
        result = CliRunner().invoke(train_command, [str(recipe), "--model", name, "--no-card"])
        assert result.exit_code == 0, result.output
    weights = [load_file(recipe.parent / f"{name}-3" / "model.safetensors") for name in ("a", "b")]
    cards = [read_card(recipe.parent / f"{name}-3" / "README.md") for name in ("a", "b")]
    assert [card.trained_by for card in cards] == [
        TrainedBy(recipe="tiny", model=name, seed=3) for name in ("a", "b")
    ]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])
    for arguments in ([], ["--model", "c"]):
        result = CliRunner().invoke(train_command, [str(recipe), *arguments])
        assert result.exit_code == 2
        assert "a, b" in result.output


def test_a_recipe_of_one_model_has_none_to_choose(recipe: Path) -> None:
    result = CliRunner().invoke(train_command, [str(recipe), "--model", "a"])
    assert result.exit_code == 2
    assert "'a'" in result.output
