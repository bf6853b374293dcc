"""The shape of a hybrid, read from a config.json in the layout of Hugging Face's `bamba`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from harness_servers.models.attention import AttentionShape
from harness_servers.models.attention_config import parse_attention
from harness_servers.models.config_values import (
    flag,
    layer_numbers,
    positive_float,
    require_divisor,
    require_value,
    time_step_limit,
)
from harness_servers.models.mamba2_shape import MixerShape
from harness_servers.models.protocol import ConfigError, positive_int

_MAX_LAYERS: Final = 1024
# What Bamba rotates of each head, where its config does not say.
_ROTATED_SHARE: Final = 0.5


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
        mixer=parse_mixer(config),
        attention=parse_attention(config, rotated_share=_ROTATED_SHARE),
        num_layers=num_layers,
        attention_layers=layer_numbers(config, "attn_layer_indices", num_layers),
        inner_size=positive_int(config, "intermediate_size"),
        vocabulary_size=positive_int(config, "vocab_size"),
        context_limit=positive_int(config, "max_position_embeddings"),
        use_mlp_bias=flag(config, "mlp_bias", False),
        is_tied=flag(config, "tie_word_embeddings", False),
    )


def parse_mixer(config: Mapping[str, Any]) -> MixerShape:
    """Of the Mamba2 layers. Raises ConfigError."""
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
