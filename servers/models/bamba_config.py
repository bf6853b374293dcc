"""The shape of a hybrid, read from a config.json in the layout of Hugging Face's `bamba`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness_servers.models.attention import AttentionShape
from harness_servers.models.config_values import (
    flag,
    is_number,
    positive_float,
    require_divisor,
    require_value,
    time_step_limit,
)
from harness_servers.models.mamba2_mixer import MixerShape
from harness_servers.models.protocol import ConfigError, positive_int

_MAX_LAYERS: Final = 1024
# What Bamba rotates of each head, where its config does not say.
_ROTATED_SHARE: Final = 0.5
_ROPE_THETA: Final = 10_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HybridConfig:
    """The shape of a hybrid; `attention_layers` are the indices of layers that attend."""

    mixer: MixerShape
    attention: AttentionShape
    num_layers: int
    attention_layers: tuple[int, ...]
    inner_size: int
    vocabulary_size: int
    context_limit: int
    use_mlp_bias: bool
    is_tied: bool


def parse_hybrid(config: Mapping[str, Any]) -> HybridConfig:
    """Checks every value. Raises ConfigError, naming it."""
    require_value(config, "hidden_act", "silu")
    num_layers = positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)
    return HybridConfig(
        mixer=_parse_mixer(config),
        attention=_parse_attention(config),
        num_layers=num_layers,
        attention_layers=_parse_indices(config, num_layers),
        inner_size=positive_int(config, "intermediate_size"),
        vocabulary_size=positive_int(config, "vocab_size"),
        context_limit=positive_int(config, "max_position_embeddings"),
        use_mlp_bias=flag(config, "mlp_bias", False),
        is_tied=flag(config, "tie_word_embeddings", False),
    )


def _parse_mixer(config: Mapping[str, Any]) -> MixerShape:
    hidden_size = positive_int(config, "hidden_size")
    inner_size = int(positive_float(config, "mamba_expand", 2) * hidden_size)
    num_heads = positive_int(config, "mamba_n_heads")
    require_divisor(config, "mamba_n_heads", "mamba_expand x hidden_size", inner_size)
    head_dim = config.get("mamba_d_head", "auto")
    if head_dim not in ("auto", inner_size // num_heads):
        raise ConfigError(
            f"config.json: mamba_d_head is {head_dim!r}; mamba_expand x hidden_size / "
            f"mamba_n_heads is {inner_size // num_heads}"
        )
    num_groups = positive_int(config, "mamba_n_groups")
    require_divisor(config, "mamba_n_groups", "mamba_n_heads", num_heads)
    return MixerShape(
        hidden_size=hidden_size,
        inner_size=inner_size,
        num_heads=num_heads,
        state_size=positive_int(config, "mamba_d_state"),
        num_groups=num_groups,
        conv_kernel=positive_int(config, "mamba_d_conv"),
        chunk_size=positive_int(config, "mamba_chunk_size"),
        norm_epsilon=positive_float(config, "rms_norm_eps", 1e-5),
        use_bias=flag(config, "mamba_proj_bias", False),
        use_conv_bias=flag(config, "mamba_conv_bias", True),
        time_step_limit=time_step_limit(config),
    )


def _parse_attention(config: Mapping[str, Any]) -> AttentionShape:
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
    share = rope.get("partial_rotary_factor", _ROTATED_SHARE)
    if not is_number(share) or not 0 < share <= 1:
        raise ConfigError(
            f"config.json: partial_rotary_factor is {share!r}; a number above 0, at most 1, "
            "was expected"
        )
    return theta, float(share)


def _parse_indices(config: Mapping[str, Any], num_layers: int) -> tuple[int, ...]:
    indices = config.get("attn_layer_indices")
    if indices is None:
        indices = []
    if not isinstance(indices, list) or not all(
        isinstance(index, int) and 0 <= index < num_layers for index in indices
    ):
        raise ConfigError(
            f"config.json: attn_layer_indices is {indices!r}; layers are 0 to {num_layers - 1}"
        )
    return tuple(sorted(set(indices)))
