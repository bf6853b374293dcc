"""A card is measured once: a stop costs the evaluation that was under way."""

from pathlib import Path

import pytest

from harness_training import card
from harness_training.measured import MeasuredCells
from harness_training.recipe import load_recipe
from harness_training.trainer import train

RECIPE = """
seed = 3
batch_size = 2
learning_rate = 1e-2
evaluations = ["--first", "--second"]
[model]
model_type = "lstm"
hidden_size = 8
num_hidden_layers = 1
[[stage]]
max_steps = 2
mixture = [{ task = "assoc_recall", ways = ["direct"], max_size = 2 }]
"""


def test_a_card_that_was_stopped_measures_only_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny" / "recipe.toml"
    path.parent.mkdir()
    path.write_text(RECIPE)
    recipe, state = load_recipe(path), tmp_path / "tiny.safetensors"
    assert train(recipe, path.parent, state, 1)
    asked: list[str] = []

    def measure(arguments: str) -> list[dict[str, object]]:
        asked.append(arguments)
        if asked == ["--first", "--second"]:
            raise card.CardError("stopped")
        return [{**dict.fromkeys(card._COLUMNS), "task": f"task of {arguments}"}]

    monkeypatch.setattr(card, "_measure", measure)
    with pytest.raises(card.CardError):
        card.write_card(recipe, path.parent, state)
    card.write_card(recipe, path.parent, state)
    assert asked == ["--first", "--second", "--second"]
    text = (path.parent / "README.md").read_text()
    assert "| task of --first |" in text
    assert "| task of --second |" in text


def test_what_was_measured_of_other_weights_is_not_taken(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    MeasuredCells(tmp_path / "a.measured", weights).add("--task t", [{"accuracy": 1.0}])
    assert MeasuredCells(tmp_path / "a.measured", weights).of("--task t") == [{"accuracy": 1.0}]
    weights.write_bytes(b"two")
    assert MeasuredCells(tmp_path / "a.measured", weights).of("--task t") is None
