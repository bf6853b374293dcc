"""Samba: Mamba and sliding-window attention in turn, each followed by a feed-forward part.

Mamba compresses the whole text, attention looks up what is in its window: nothing grows. Source:
Ren et al., "Samba", arXiv 2406.07522, section 2. Layout and names of flash-linear-attention's
`samba`: which layers attend is a list in the config, a window counts the token that looks back, and
the feed-forward width is 2/3 `hidden_ratio` times the width, rounded up to a multiple of 256.
Shapes: D width, V vocabulary; see mamba.py and window_attention.py for the rest.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

from harness_servers.models.attention import AttentionShape
from harness_servers.models.config_values import (
    flag,
    layer_numbers,
    positive_float,
    require_divisor,
    require_value,
)
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.mamba import MambaMixer, mamba_shape
from harness_servers.models.mamba_layout import MambaBackbone, MambaLayoutModel
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.token_mixer import ResidualLayer
from harness_servers.models.window_attention import WindowAttention

_MAX_LAYERS: Final = 1024
_MAX_WINDOW: Final = 2**20
_INNER_MULTIPLE: Final = 256
_ATTENTION: Final = "attn"


class SambaModel(MambaLayoutModel):
    """A stack of such layers between embedding and head."""

    family = "HYBRID"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a config of flash-linear-attention. Raises ConfigError."""
        require_value(config, "hidden_act", "swish")
        return cls(_backbone(config), tied=flag(config, "tie_word_embeddings", False))


def _backbone(config: Mapping[str, Any]) -> MambaBackbone:
    size = positive_int(config, "hidden_size")
    epsilon = positive_float(config, "norm_eps", 1e-5)
    num_layers = positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)
    attention = _attention(config)
    attending = layer_numbers(attention, "layers", num_layers)
    layers = (
        ResidualLayer(
            {
                "mixer_norm": RmsNorm(size, eps=epsilon),
                "mixer": _window_attention(attention, size)
                if index in attending
                else MambaMixer(mamba_shape(config)),
                "mlp_norm": RmsNorm(size, eps=epsilon),
                "mlp": GatedFeedForward(size, _inner_size(config, size)),
            }
        )
        for index in range(num_layers)
    )
    return MambaBackbone(
        layers,
        vocabulary_size=positive_int(config, "vocab_size"),
        hidden_size=size,
        epsilon=epsilon,
    )


def _inner_size(config: Mapping[str, Any], hidden_size: int) -> int:
    ratio = 4.0 if config.get("hidden_ratio") is None else positive_float(config, "hidden_ratio", 4)
    whole = int(hidden_size * ratio * 2 / 3)
    return -(-whole // _INNER_MULTIPLE) * _INNER_MULTIPLE


def _attention(config: Mapping[str, Any]) -> Mapping[str, Any]:
    attention = config.get(_ATTENTION)
    if not isinstance(attention, Mapping):
        raise ConfigError(f"config.json: {_ATTENTION} is {attention!r}; an object was expected")
    return attention


def _window_attention(config: Mapping[str, Any], hidden_size: int) -> WindowAttention:
    num_heads = positive_int(config, "num_heads")
    require_divisor(config, "num_heads", "hidden_size", hidden_size)
    num_key_value_heads = num_heads
    if config.get("num_kv_heads") is not None:
        num_key_value_heads = positive_int(config, "num_kv_heads")
        require_divisor(config, "num_kv_heads", "num_heads", num_heads)
    head_dim = hidden_size // num_heads
    if head_dim % 2:
        raise ConfigError(
            f"config.json: {_ATTENTION}: heads of {head_dim} channels cannot be rotated; "
            "their number has to be even"
        )
    shape = AttentionShape(
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_key_value_heads=num_key_value_heads,
        head_dim=head_dim,
        rotary_size=head_dim,
        rope_theta=positive_float(config, "rope_theta", 10_000.0),
        use_bias=flag(config, "qkv_bias", False),
    )
    return WindowAttention(shape, positive_int(config, "window_size", at_most=_MAX_WINDOW))
