"""The shape of an xLSTM, from a config.json in the layout of Hugging Face's `xlstm`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness_servers.models.config_values import (
    flag,
    layer_numbers,
    positive_float,
    require_divisor,
    require_value,
)
from harness_servers.models.protocol import ConfigError, positive_int

_MAX_LAYERS: Final = 1024
_DEFAULTS: Final = {"ffn_round_up_to_multiple_of": 64, "slstm_conv_kernel": 4}


@dataclass(frozen=True, kw_only=True, slots=True)
class XlstmConfig:
    """`key_size` and `value_size` are those of all heads together."""

    vocabulary_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    key_size: int
    value_size: int
    inner_size: int
    # Layers that have sLSTM in the place of mLSTM.
    slstm_layers: frozenset[int]
    slstm_num_heads: int
    slstm_conv_kernel: int
    gate_cap: float
    logit_cap: float
    norm_epsilon: float
    epsilon: float
    use_bias: bool
    is_tied: bool


def parse_xlstm(config: Mapping[str, Any]) -> XlstmConfig:
    """Checks every value. Raises ConfigError, naming it.

    transformers has no sLSTM: slstm_at (a list of layers), slstm_num_heads and slstm_conv_kernel
    are our own keys.
    """
    require_value(config, "weight_mode", "single")
    if not flag(config, "add_out_norm", True):
        raise ConfigError("config.json: add_out_norm is False; only true is known")
    hidden_size = _one_of_two_names(config, "hidden_size", "embedding_dim")
    num_layers = _one_of_two_names(config, "num_hidden_layers", "num_blocks")
    num_heads = positive_int(config, "num_heads")
    key_size = int(positive_float(config, "qk_dim_factor", 0.5) * hidden_size)
    value_size = int(positive_float(config, "v_dim_factor", 1.0) * hidden_size)
    for factor, size in (("qk_dim_factor", key_size), ("v_dim_factor", value_size)):
        if not size:
            raise ConfigError(f"config.json: {factor} {config[factor]} leaves no channels")
        require_divisor(config, "num_heads", f"{factor} x hidden_size", size)
    slstm = _DEFAULTS | {"slstm_num_heads": num_heads} | dict(config)
    slstm_layers = frozenset(layer_numbers(config, "slstm_at", num_layers))
    slstm_num_heads = positive_int(slstm, "slstm_num_heads")
    if slstm_layers:
        require_divisor(slstm, "slstm_num_heads", "hidden_size", hidden_size)
    return XlstmConfig(
        vocabulary_size=positive_int(config, "vocab_size"),
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        key_size=key_size,
        value_size=value_size,
        inner_size=_parse_inner_size(slstm, hidden_size),
        slstm_layers=slstm_layers,
        slstm_num_heads=slstm_num_heads,
        slstm_conv_kernel=positive_int(slstm, "slstm_conv_kernel"),
        gate_cap=positive_float(config, "gate_soft_cap", 15.0),
        logit_cap=positive_float(config, "output_logit_soft_cap", 30.0),
        norm_epsilon=positive_float(config, "norm_eps", 1e-6),
        epsilon=positive_float(config, "eps", 1e-6),
        use_bias=flag(config, "use_bias", False),
        is_tied=flag(config, "tie_word_embeddings", False),
    )


def _one_of_two_names(config: Mapping[str, Any], key: str, other: str) -> int:
    """The layout has two keys for one number."""
    if config.get(key) is None and config.get(other) is not None:
        key = other
    value = positive_int(config, key, at_most=_MAX_LAYERS if "num" in key else 2**24)
    if config.get(other, value) not in (None, value):
        raise ConfigError(f"config.json: {other} is {config[other]!r}; {key} is {value}")
    return value


def _parse_inner_size(config: Mapping[str, Any], hidden_size: int) -> int:
    """Of the feed-forward part: rounded up to a multiple."""
    multiple = positive_int(config, "ffn_round_up_to_multiple_of")
    size = positive_float(config, "ffn_proj_factor", 2.667) * hidden_size
    return int((size + multiple - 1) // multiple) * multiple
