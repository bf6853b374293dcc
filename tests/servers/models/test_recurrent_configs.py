"""Configs that a recurrent architecture refuses, and what it says of them."""

from typing import Any

import pytest

from harness_servers.models import model_class
from harness_servers.models.protocol import ConfigError

from .architectures import ARCHITECTURES, GRIFFIN, VARIANTS, XLSTM

CONFIGS = {
    "gru": ARCHITECTURES["gru"],
    "griffin": GRIFFIN,
    "hawk": VARIANTS["hawk"],
    "xlstm": XLSTM,
}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("gru", {"hidden_size": 0}, "hidden_size is 0; a whole number from 1"),
    ("gru", {"num_hidden_layers": "2"}, "num_hidden_layers is '2'"),
    ("gru", {"tie_word_embeddings": False}, "tie_word_embeddings is False; gru ties them"),
    ("hawk", {"num_attention_heads": 3}, "num_attention_heads 3 does not divide lru_width 40"),
    ("hawk", {"block_types": ["mlp"]}, "block_types is ['mlp']; a list of 'recurrent' and"),
    ("hawk", {"block_types": []}, "block_types is []"),
    ("hawk", {"intermediate_size": 97}, "intermediate_size is 97; an even number"),
    (
        "hawk",
        {"hidden_activation": "silu"},
        "hidden_activation is 'silu'; only 'gelu_pytorch_tanh'",
    ),
    ("griffin", {"num_key_value_heads": 3}, "num_key_value_heads 3 does not divide"),
    ("griffin", {"attention_window_size": 0}, "attention_window_size is 0"),
    ("griffin", {"logits_soft_cap": -1}, "logits_soft_cap is -1; a number above 0"),
    ("griffin", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type is 'yarn'"),
    ("xlstm", {"num_heads": 3}, "num_heads 3 does not divide qk_dim_factor x hidden_size 16"),
    ("xlstm", {"qk_dim_factor": 0.01}, "qk_dim_factor 0.01 leaves no channels"),
    ("xlstm", {"weight_mode": "fused"}, "weight_mode is 'fused'; only 'single' is known"),
    ("xlstm", {"add_out_norm": False}, "add_out_norm is False; only true is known"),
    ("xlstm", {"num_blocks": 3}, "num_blocks is 3; num_hidden_layers is 2"),
    ("xlstm", {"gate_soft_cap": 0}, "gate_soft_cap is 0; a number above 0"),
    ("xlstm", {"slstm_at": [2]}, "slstm_at is [2]; layers are 0 to 1"),
    ("xlstm", {"slstm_at": 1}, "slstm_at is 1;"),
    ("xlstm", {"slstm_at": [1], "slstm_num_heads": 5}, "slstm_num_heads 5 does not divide"),
]


def test_either_name_of_an_xlstms_sizes_will_do() -> None:
    config = {**XLSTM, "vocab_size": 800}
    config["embedding_dim"], config["num_blocks"] = (
        config.pop("hidden_size"),
        config.pop("num_hidden_layers"),
    )
    model = model_class("xlstm").from_config({**config, "num_hidden_layers": None})
    assert model.state_bytes() == 2 * (2 * (8 * 16 + 8 + 1)) * 4


@pytest.mark.parametrize(("name", "change", "message"), REFUSED)
def test_a_config_that_no_model_has_is_refused(name: str, change: dict, message: str) -> None:
    config = {**CONFIGS[name], "vocab_size": 800, **change}
    with pytest.raises(ConfigError) as raised:
        model_class(config["model_type"]).from_config(config)
    assert message in str(raised.value)
