"""Samba's layout, and what its config may say."""

from typing import Any

import pytest
import torch

from harness_servers.models.protocol import ConfigError
from harness_servers.models.samba import SambaModel

from .architectures import SAMBA

CONFIG = {**SAMBA, "vocab_size": 50}


def test_its_weights_have_the_names_and_sizes_of_flash_linear_attention() -> None:
    shapes = {
        name: tuple(w.shape) for name, w in SambaModel.from_config(CONFIG).state_dict().items()
    }
    mamba = "backbone.layers.0.mixer."
    assert shapes["lm_head.weight"] == shapes["backbone.embeddings.weight"] == (50, 32)
    assert shapes[f"{mamba}in_proj.weight"] == (128, 32)
    assert shapes[f"{mamba}x_proj.weight"] == (4 + 2 * 8, 64)
    assert shapes["backbone.layers.1.mixer.k_proj.weight"] == (16, 32)
    # 2/3 of twice 32 in the next multiple of 256.
    assert shapes["backbone.layers.1.mlp.gate_proj.weight"] == (256, 32)
    assert {"backbone.layers.3.mixer_norm.weight", "backbone.layers.3.mlp_norm.weight"} <= {*shapes}
    assert shapes["backbone.norm_f.weight"] == (32,)


def test_its_state_does_not_grow() -> None:
    model = SambaModel.from_config(CONFIG)
    mamba = 3 * 64 + 64 * 8
    window = 2 * 4 * 2 * 8
    assert model.state_bytes() == 2 * (4 * mamba + 4 * window + 8)
    state = model.init_state(1)
    model.prefill(torch.zeros(1, 90).long(), torch.tensor([90]), state, torch.tensor([0]))
    assert sum(tensor.nbytes for tensor in state.values()) == model.state_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"attn": None}, "attn is None; an object was expected"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; only 'swish' is known"),
        ({"hidden_ratio": 0}, "hidden_ratio is 0; a number above 0"),
        ({"attn": {**SAMBA["attn"], "layers": [4]}}, r"layers is \[4\]; layers are 0 to 3"),
        ({"attn": {**SAMBA["attn"], "num_heads": 5}}, "num_heads 5 does not divide hidden_size 32"),
        ({"attn": {**SAMBA["attn"], "num_kv_heads": 3}}, "num_kv_heads 3 does not divide"),
        ({"attn": {**SAMBA["attn"], "num_heads": 32}}, "heads of 1 channels cannot be rotated"),
        ({"attn": {**SAMBA["attn"], "window_size": 0}}, "window_size is 0; a whole number from 1"),
        ({"attn": {**SAMBA["attn"], "window_size": None}}, "window_size is None"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SambaModel.from_config({**CONFIG, **change})
