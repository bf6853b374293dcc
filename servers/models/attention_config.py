"""The shape of attention, from a config.json of Hugging Face's `bamba` or `recurrent_gemma`."""

from collections.abc import Mapping
from typing import Any, Final

from harness_servers.models.attention import AttentionShape
from harness_servers.models.config_values import flag, is_number, positive_float, require_divisor
from harness_servers.models.protocol import ConfigError, positive_int

# What both rotate of each head, where a config does not say.
_ROTATED_SHARE: Final = 0.5
_ROPE_THETA: Final = 10_000.0


def parse_attention(config: Mapping[str, Any]) -> AttentionShape:
    """The sizes of attention; where the config does not say, half of a head is rotated.

    Raises ConfigError, naming the value.
    """
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
    theta, share = _parse_rope(config)
    rotary_size = int(head_dim * share)
    if rotary_size % 2:
        raise ConfigError(
            f"config.json: {rotary_size} channels of a head are rotated (head size {head_dim}, "
            f"partial_rotary_factor {share}); they have to be even in number"
        )
    return AttentionShape(
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        head_dim=head_dim,
        rotary_size=rotary_size,
        rope_theta=theta,
        use_bias=flag(config, "attention_bias", False),
    )


def _parse_rope(config: Mapping[str, Any]) -> tuple[float, float]:
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
    share = {**config, **rope}.get("partial_rotary_factor", _ROTATED_SHARE)
    if not is_number(share) or not 0 < share <= 1:
        raise ConfigError(
            f"config.json: partial_rotary_factor is {share!r}; a number above 0, at most 1, "
            "was expected"
        )
    return theta, float(share)
