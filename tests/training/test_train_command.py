from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

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
