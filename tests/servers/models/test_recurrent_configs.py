"""Configs that a recurrent architecture refuses, and what it says of them."""

from typing import Any

import pytest

from harness_servers.models import model_class
from harness_servers.models.protocol import ConfigError

from .architectures import CONFIGS

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("gru", {"hidden_size": 0}, "hidden_size is 0; a whole number from 1"),
    ("gru", {"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
    ("gru", {"tie_word_embeddings": False}, "tie_word_embeddings is False; gru ties them"),
]


@pytest.mark.parametrize(("name", "change", "message"), REFUSED)
def test_a_config_that_no_model_has_is_refused(name: str, change: dict, message: str) -> None:
    config = {**CONFIGS[name], "vocab_size": 800, **change}
    with pytest.raises(ConfigError) as raised:
        model_class(config["model_type"]).from_config(config)
    assert message in str(raised.value)
