"""Checkpoints in the layout of mamba_ssm, the authors' own code: renamed to Hugging Face's.

https://github.com/state-spaces/mamba: models/config_mamba.py, modules/mamba2.py, mamba_simple.py.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file

from harness_servers.checkpoints.checkpoint_files import CONFIG, WEIGHTS, read_json, require_files
from harness_servers.checkpoints.weight_files import find_weights
from harness_servers.errors import CheckpointError
from harness_servers.models.protocol import ConfigError, positive_int

_THEIR_EMBEDDINGS: Final = "backbone.embedding."
_OUR_EMBEDDINGS: Final = "backbone.embeddings."
# What of ssm_cfg has a meaning in Hugging Face's layout, by layer: their name, its, the default.
_SIZES: Final[dict[str, tuple[tuple[str, str, int], ...]]] = {
    "Mamba1": (
        ("d_state", "state_size", 16),
        ("d_conv", "conv_kernel", 4),
        ("expand", "expand", 2),
    ),
    "Mamba2": (
        ("d_state", "state_size", 128),
        ("d_conv", "conv_kernel", 4),
        ("expand", "expand", 2),
        ("headdim", "head_dim", 64),
        ("ngroups", "n_groups", 1),
        ("chunk_size", "chunk_size", 256),
    ),
}
_TYPES: Final = {"Mamba1": "mamba", "Mamba2": "mamba2"}


def convert(plain: Path) -> None:
    """Replaces config and weights of a folder of links. Raises CheckpointError."""
    require_files(plain, names=(CONFIG,))
    raw = read_json(plain / CONFIG)
    try:
        config = to_hugging_face(raw if isinstance(raw, dict) else {})
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    weights = {
        name.replace(_THEIR_EMBEDDINGS, _OUR_EMBEDDINGS): tensor
        for name, tensor in find_weights(plain).tensors()
    }
    if config["tie_word_embeddings"]:
        weights.pop("lm_head.weight", None)
    (plain / CONFIG).unlink()
    (plain / CONFIG).write_text(json.dumps(config))
    (plain / WEIGHTS).unlink(missing_ok=True)
    save_file(weights, plain / WEIGHTS, metadata={"format": "pt"})


def to_hugging_face(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the same model. Raises ConfigError for what that layout has no word for."""
    ssm = raw.get("ssm_cfg") or {}
    if not isinstance(ssm, dict):
        raise ConfigError(f"config.json: ssm_cfg is {ssm!r}; an object was expected")
    layer = ssm.get("layer", "Mamba1")
    if layer not in [*_TYPES]:
        raise ConfigError(f"config.json: ssm_cfg.layer is {layer!r}; Mamba1 and Mamba2 are known")
    for key, only in (("attn_layer_idx", []), ("attn_cfg", {}), ("d_intermediate", 0)):
        if raw.get(key, only) not in (only, None):
            raise ConfigError(f"config.json: {key} is {raw[key]!r}; only {only!r} is known")
    if raw.get("rms_norm", True) is not True:
        raise ConfigError("config.json: rms_norm is False; only RMS norms are known")
    known = {name for name, _, _ in _SIZES[layer]} | {"layer"}
    known |= {"norm_before_gate", "rmsnorm"} if layer == "Mamba2" else set()
    if unknown := sorted(ssm.keys() - known):
        raise ConfigError(f"config.json: ssm_cfg.{unknown[0]} is not known")
    if ssm.get("norm_before_gate", False) or not ssm.get("rmsnorm", True):
        raise ConfigError(
            "config.json: ssm_cfg.norm_before_gate and a mixer without rmsnorm are not known"
        )
    sizes = {
        its: positive_int({its: ssm.get(theirs, default)}, its)
        for theirs, its, default in _SIZES[layer]
    }
    return {"model_type": _TYPES[layer], **sizes, **_shape(raw, sizes, layer)}


def _shape(raw: Mapping[str, Any], sizes: Mapping[str, int], layer: str) -> dict[str, Any]:
    width = positive_int(raw, "d_model")
    multiple = positive_int({"pad_vocab_size_multiple": 8, **raw}, "pad_vocab_size_multiple")
    shape: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": positive_int(raw, "n_layer"),
        "vocab_size": math.ceil(positive_int(raw, "vocab_size") / multiple) * multiple,
        "tie_word_embeddings": bool(raw.get("tie_embeddings", True)),
        "layer_norm_epsilon": 1e-5,
        "residual_in_fp32": bool(raw.get("residual_in_fp32", True)),
        "eos_token_id": raw.get("eos_token_id"),
    }
    inner = sizes["expand"] * width
    if layer == "Mamba2":
        # Several groups are normalized each by itself there.
        shape |= {"num_heads": inner // sizes["head_dim"], "norm_by_group": True}
    else:
        shape |= {"intermediate_size": inner, "time_step_rank": math.ceil(width / 16)}
    return shape
