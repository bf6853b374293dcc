"""The shape of an attention layer, read from a config.json in one of Hugging Face's layouts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from harness_servers.models.attention import AttentionShape
from harness_servers.models.config_values import (
    flag,
    is_number,
    positive_float,
    require_divisor,
)
from harness_servers.models.protocol import ConfigError, positive_int

_ROPE_THETA: Final = 10_000.0


def parse_attention(config: Mapping[str, Any], *, rotated_share: float = 1.0) -> AttentionShape:
    """`rotated_share` of each head's channels are rotated where the config does not say.

    Raises ConfigError.
    """
    shape = parse_heads(config)
    theta, share = _parse_rope(config, rotated_share)
    rotary_size = int(shape.head_dim * share)
    if rotary_size % 2:
        raise ConfigError(
            f"config.json: {rotary_size} channels of a head are rotated (head size "
            f"{shape.head_dim}, partial_rotary_factor {share}); they have to be even in number"
        )
    return replace(shape, rotary_size=rotary_size, rope_theta=theta)


def parse_heads(config: Mapping[str, Any]) -> AttentionShape:
    """Of heads that are not rotated. Raises ConfigError."""
    hidden_size = positive_int(config, "hidden_size")
    num_heads = positive_int(config, "num_attention_heads")
    if config.get("head_dim") is None:
        require_divisor(config, "num_attention_heads", "hidden_size", hidden_size)
        head_dim = hidden_size // num_heads
    else:
        head_dim = positive_int(config, "head_dim")
    # null stands for one key-value head for each query head; a missing key does not.
    num_key_value_heads = num_heads
    if config.get("num_key_value_heads", 0) is not None:
        num_key_value_heads = positive_int(config, "num_key_value_heads")
        require_divisor(config, "num_key_value_heads", "num_attention_heads", num_heads)
    has_bias = flag(config, "attention_bias", False)
    return AttentionShape(
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        head_dim=head_dim,
        rotary_size=0,
        rope_theta=_ROPE_THETA,
        use_bias=has_bias,
        use_output_bias=has_bias,
    )


def _parse_rope(config: Mapping[str, Any], rotated_share: float) -> tuple[float, float]:
    """The base of the rotation, and the share of a head's channels that are rotated."""
    # Before version 5 transformers wrote rope_scaling, and the base beside it.
    key = "rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling"
    rope = config.get(key)
    if rope is None:
        rope = {}
    if not isinstance(rope, Mapping):
        raise ConfigError(f"config.json: {key} is {rope!r}; an object was expected")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ConfigError(f"config.json: rope_type is {kind!r}; only 'default' is known")
    theta = positive_float({**config, **rope}, "rope_theta", _ROPE_THETA)
    share = rope.get("partial_rotary_factor", rotated_share)
    if not is_number(share) or not 0 < share <= 1:
        raise ConfigError(
            f"config.json: partial_rotary_factor is {share!r}; a number above 0, at most 1, "
            "was expected"
        )
    return theta, float(share)
