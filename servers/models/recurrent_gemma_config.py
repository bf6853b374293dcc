"""The shape of Hawk or Griffin, from a config.json in the layout of `recurrent_gemma`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from harness_servers.models.attention import AttentionShape
from harness_servers.models.attention_config import parse_attention
from harness_servers.models.config_values import (
    flag,
    positive_float,
    require_divisor,
    require_value,
)
from harness_servers.models.protocol import ConfigError, positive_int

ATTENTION: Final = "attention"
_RECURRENT: Final = "recurrent"
_MAX_LAYERS: Final = 1024
_ROTATED_SHARE: Final = 0.5
_PATTERN: Final = (_RECURRENT, _RECURRENT, ATTENTION)


@dataclass(frozen=True, kw_only=True, slots=True)
class GriffinConfig:
    """`attention` is None where no layer attends: Hawk."""

    vocabulary_size: int
    hidden_size: int
    inner_size: int
    lru_width: int
    num_blocks: int
    conv_width: int
    attention: AttentionShape | None
    window: int
    # Whether each layer attends.
    attends: tuple[bool, ...]
    epsilon: float
    soft_cap: float
    is_tied: bool


def parse_griffin(config: Mapping[str, Any]) -> GriffinConfig:
    """Checks every value. Raises ConfigError, naming it."""
    require_value(config, "hidden_activation", "gelu_pytorch_tanh")
    hidden_size = positive_int(config, "hidden_size")
    lru_width = hidden_size
    if config.get("lru_width") is not None:
        lru_width = positive_int(config, "lru_width")
    num_blocks = positive_int(config, "num_attention_heads")
    require_divisor(config, "num_attention_heads", "lru_width", lru_width)
    attends = _parse_pattern(config)
    return GriffinConfig(
        vocabulary_size=positive_int(config, "vocab_size"),
        hidden_size=hidden_size,
        inner_size=_parse_inner_size(config),
        lru_width=lru_width,
        num_blocks=num_blocks,
        conv_width=positive_int({"conv1d_width": 4, **config}, "conv1d_width"),
        attention=_parse_attention(config) if any(attends) else None,
        window=positive_int({"attention_window_size": 2048, **config}, "attention_window_size"),
        attends=attends,
        epsilon=positive_float(config, "rms_norm_eps", 1e-6),
        soft_cap=positive_float(config, "logits_soft_cap", 30.0),
        is_tied=flag(config, "tie_word_embeddings", True),
    )


def _parse_attention(config: Mapping[str, Any]) -> AttentionShape:
    # Before version 5 transformers wrote the share beside the other keys.
    share = config.get("partial_rotary_factor", _ROTATED_SHARE)
    shape = parse_attention({"num_key_value_heads": None, **config}, rotated_share=share)
    # In this layout the last projection has a bias whatever the others have.
    return replace(shape, use_output_bias=True)


def _parse_pattern(config: Mapping[str, Any]) -> tuple[bool, ...]:
    """The pattern is repeated until all layers have a block."""
    num_layers = positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)
    pattern = config.get("block_types")
    if pattern is None:
        pattern = _PATTERN
    known = (_RECURRENT, ATTENTION)
    if not isinstance(pattern, (list, tuple)) or not pattern or not set(pattern) <= set(known):
        raise ConfigError(
            f"config.json: block_types is {pattern!r}; a list of {known[0]!r} and {known[1]!r} "
            "was expected"
        )
    return tuple(pattern[index % len(pattern)] == ATTENTION for index in range(num_layers))


def _parse_inner_size(config: Mapping[str, Any]) -> int:
    """This layout counts both halves of the feed-forward part's first product."""
    both = positive_int(config, "intermediate_size")
    if both % 2:
        raise ConfigError(f"config.json: intermediate_size is {both}; an even number was expected")
    return both // 2
