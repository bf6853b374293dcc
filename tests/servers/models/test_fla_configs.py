"""Layouts of flash-linear-attention: names of weights, and what a config cannot ask for."""

from typing import Any

import pytest

from harness_servers.models import model_class
from harness_servers.models.protocol import ConfigError

from .fla_architectures import FLA_ARCHITECTURES, GATED_DELTANET, GSA, RWKV7

CONFIGS = {"gated_deltanet": GATED_DELTANET, "gsa": GSA, "rwkv7": RWKV7}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("gated_deltanet", {"num_v_heads": 3}, "num_heads 2 does not divide num_v_heads 3"),
    ("gated_deltanet", {"expand_v": 1.3}, "expand_v 1.3 of head_dim 8 is 10.4"),
    ("gated_deltanet", {"head_dim": 0}, "head_dim is 0"),
    ("gated_deltanet", {"use_gate": "yes"}, "use_gate is 'yes'"),
    ("gated_deltanet", {"attn": {"layers": [1]}}, "attn is {'layers': [1]}; only None is known"),
    ("gated_deltanet", {"attnres_block_size": 2}, "attnres_block_size is 2"),
    ("gated_deltanet", {"hidden_act": "gelu"}, "hidden_act is 'gelu'; only 'swish' is known"),
    ("gsa", {"num_heads": 5}, "num_heads 5 does not divide hidden_size 32"),
    ("gsa", {"num_kv_heads": 3}, "num_kv_heads 3 does not divide num_heads 4"),
    ("gsa", {"expand_k": 0.7}, "expand_k 0.7 of hidden_size 32 is 22.4"),
    ("gsa", {"expand_k": 0.1875}, "num_heads 4 does not divide the width of keys, 6"),
    ("gsa", {"expand_v": 2}, "expand_v is 2; only 1 is known"),
    ("gsa", {"num_slots": 0}, "num_slots is 0"),
    ("gsa", {"feature_map": "elu"}, "feature_map is 'elu'; known are swish, relu, t2r"),
    ("gsa", {"use_output_gate": True}, "use_output_gate is True; only False is known"),
    ("rwkv7", {"head_dim": 12}, "head_dim 12 does not divide hidden_size 32"),
    ("rwkv7", {"num_heads": 3}, "num_heads is 3; hidden_size 32 in heads of head_dim 8 makes 4"),
    ("rwkv7", {"head_dim": None, "num_heads": 3}, "num_heads 3 does not divide hidden_size 32"),
    ("rwkv7", {"value_dim": 48}, "value_dim is 48; a multiple of hidden_size 32"),
    ("rwkv7", {"value_dim": [32, 64]}, "value_dim is [32, 64]; 2 times one width"),
    ("rwkv7", {"gate_low_rank_dim": -1}, "gate_low_rank_dim is -1"),
    ("rwkv7", {"hidden_act": "relu"}, "hidden_act is 'relu'; only 'sqrelu' is known"),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG)
def test_a_value_that_no_model_can_have_is_named(
    name: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        model_class(name).from_config({**CONFIGS[name], "vocab_size": 10, **change})
    assert message in str(raised.value)


MLP = {f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
NORMS = {"attn_norm.weight", "mlp_norm.weight"}
QKV = {f"attn.{letter}_{part}.weight" for letter in "qkv" for part in ("proj", "conv1d")}
NAMES = {
    "gated_deltanet": {
        *(f"attn.{letter}_proj.weight" for letter in "abgo"),
        *("attn.A_log", "attn.dt_bias", "attn.o_norm.weight"),
        *(QKV | MLP | NORMS),
    },
    "gsa": {
        *("attn.f_proj.weight", "attn.o_proj.weight", "attn.g_norm.weight"),
        *("attn.feature_map.layer.weight",),
        *(QKV | MLP | NORMS),
    },
    "rwkv7": {
        *(f"attn.x_{letter}" for letter in "rwkvag"),
        *(f"attn.{name}" for name in ("k_k", "k_a", "r_k")),
        *(f"attn.{letter}_proj.weight" for letter in "rkvo"),
        *(f"attn.{letter}_lora.lora.{place}.weight" for letter in "wvag" for place in (0, 2)),
        *(f"attn.{letter}_lora.lora.2.bias" for letter in "wva"),
        *(f"{name}.{part}" for name in ("attn_norm", "ffn_norm") for part in ("weight", "bias")),
        *("attn.g_norm.weight", "attn.g_norm.bias"),
        *("ffn.x_k", "ffn.key.weight", "ffn.value.weight"),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_weights_have_the_names_of_the_library(name: str) -> None:
    config = {**FLA_ARCHITECTURES[name], "vocab_size": 10}
    model = model_class(name).from_config(config)
    names = {key: weight.shape for key, weight in model.state_dict().items()}
    last = f"model.layers.{config['num_hidden_layers'] - 1}."
    assert {key.removeprefix(last) for key in names if key.startswith(last)} == NAMES[name]
    assert names["model.embeddings.weight"] == names["lm_head.weight"] == (10, 32)
    assert "model.norm.weight" in names
    # RWKV-7's first layer has values of its own, and a norm of the embedding.
    assert not any(key.startswith("model.layers.0.attn.v_lora") for key in names)
    assert ("model.layers.0.pre_norm.weight" in names) == (name == "rwkv7")
