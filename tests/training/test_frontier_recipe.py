"""The recipe for many architectures: each can be trained, saved, and is small enough."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from harness_servers.models import MODELS, model_class
from harness_training.model import make_model
from harness_training.recipe import load_recipe
from harness_training.tokenizer import build_tokenizer, checkpoint_config

RECIPE = Path(__file__).parents[2] / "checkpoints" / "frontier" / "recipe.toml"
NAMES = list(tomllib.loads(RECIPE.read_text())["models"])
MAX_PARAMETERS = 300_000


def config_of(name: str) -> dict[str, Any]:
    return checkpoint_config(load_recipe(RECIPE, name).model, build_tokenizer())


def test_every_architecture_but_the_shipped_hybrid_is_in_it() -> None:
    assert {config_of(name)["model_type"] for name in NAMES} == MODELS.keys() - {
        "bamba",
        "scripted",
    }


@pytest.mark.parametrize("name", NAMES)
def test_one_of_its_models_is_small_and_all_of_its_weights_are_trained_and_saved(name: str) -> None:
    config = config_of(name)
    model = make_model(config, 1, "cpu")
    tokens = torch.arange(12)[None]
    # Behind a prompt: of one that is condensed all weights have a part in it.
    logits = model(tokens, tokens >= 8)
    logits.logsumexp(-1).sum().backward()
    untrained = [one for one, weight in model.named_parameters() if weight.grad is None]
    assert untrained == []
    saved = {one: weight.shape for one, weight in model.named_parameters()}
    with torch.device("meta"):
        served = model_class(config["model_type"]).from_config(config)
    assert saved == {one: weight.shape for one, weight in served.state_dict().items()}
    assert sum(shape.numel() for shape in saved.values()) <= MAX_PARAMETERS
