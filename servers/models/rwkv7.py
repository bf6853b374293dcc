"""RWKV-7, in the layout of flash-linear-attention's `rwkv7`.

Every layer is time mixing, then channel mixing (rwkv7_mixers.py), each behind a layer norm; one
more norm stands behind the embedding. Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic
State Evolution", arXiv 2503.14456. Embeddings begin wider than the authors' (0.1, not 0.0001): the
norm behind them takes their size away, and a head that shares them needs it.
Shapes: D width, E width of the values, W = D + E.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.config_values import (
    flag,
    positive_float,
    require_divisor,
    require_value,
)
from harness_servers.models.fla_layout import FlaModel, num_layers, optional_int
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.rwkv7_mixers import ChannelMix, RwkvShape, TimeMix
from harness_servers.models.token_mixer import ResidualLayer

# Where no inner width is given, it is a whole number of these.
_INNER_UNIT: Final = 32


class _StreamNorm(nn.LayerNorm):
    """Of the residual stream; the first layer's values beside it stay as they are."""

    def forward(self, hidden_W: Tensor) -> Tensor:
        size = self.normalized_shape[0]
        return torch.cat([super().forward(hidden_W[..., :size]), hidden_W[..., size:]], -1)


class Rwkv7Model(FlaModel):
    """A stack of time mixing and channel mixing."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises ConfigError."""
        shapes = _layer_shapes(config)
        self._value_width = shapes[0].value_width
        size, epsilon = shapes[0].hidden_size, shapes[0].norm_epsilon
        has_bias = flag(config, "norm_bias", True)

        def norm(kind: type[nn.LayerNorm] = _StreamNorm) -> nn.LayerNorm:
            return kind(size, eps=epsilon, bias=has_bias)

        layers = [
            ResidualLayer(
                {
                    "attn_norm": norm(),
                    "attn": TimeMix(shape),
                    "ffn_norm": norm(),
                    "ffn": ChannelMix(shape),
                }
            )
            for shape in shapes
        ]
        if flag(config, "norm_first", True):
            layers[0].add_module("pre_norm", norm(nn.LayerNorm))
        super().__init__(config, layers, norm(nn.LayerNorm))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of the library's config. Raises ConfigError."""
        return cls(config)

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first layer is given (..., W): no values yet."""
        hidden_D = self.embedding(tokens)
        pre_norm = getattr(self.layers[0], "pre_norm", None)
        return F.pad(hidden_D if pre_norm is None else pre_norm(hidden_D), (0, self._value_width))

    def finish(self, hidden_W: Tensor) -> Tensor:
        """Logits of the residual stream."""
        return super().finish(hidden_W[..., : -self._value_width])


def _layer_shapes(config: Mapping[str, Any]) -> list[RwkvShape]:
    require_value(config, "hidden_act", "sqrelu")
    hidden_size, count = positive_int(config, "hidden_size"), num_layers(config)
    ranks = {"w": "decay", "a": "a", "v": "v", "g": "gate"}
    defaults = {"w": 64, "a": 64, "v": 16, "g": 128}
    common: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_heads": _num_heads(config, hidden_size),
        "value_width": _value_width(config, hidden_size, count),
        "inner_size": _inner_size(config, hidden_size),
        "ranks": {
            letter: optional_int(config, f"{name}_low_rank_dim", defaults[letter])
            for letter, name in ranks.items()
        },
        "norm_epsilon": positive_float(config, "norm_eps", 1e-5),
        "num_layers": count,
    }
    return [RwkvShape(index=index, **common) for index in range(count)]


def _num_heads(config: Mapping[str, Any], hidden_size: int) -> int:
    """By their width, 64 where nothing is said, or by their number where that is null."""
    config = {"head_dim": 64, **config}
    if config["head_dim"] is None:
        num_heads = positive_int(config, "num_heads")
        require_divisor(config, "num_heads", "hidden_size", hidden_size)
        return num_heads
    head_dim = positive_int(config, "head_dim")
    require_divisor(config, "head_dim", "hidden_size", hidden_size)
    num_heads = hidden_size // head_dim
    if optional_int(config, "num_heads", num_heads) != num_heads:
        raise ConfigError(
            f"config.json: num_heads is {config['num_heads']}; hidden_size {hidden_size} in heads "
            f"of head_dim {head_dim} makes {num_heads}"
        )
    return num_heads


def _value_width(config: Mapping[str, Any], hidden_size: int, count: int) -> int:
    """One for all layers: they mix their values with the first layer's. The library lists it."""
    value = config.get("value_dim")
    if isinstance(value, list):
        if len(value) != count or len(set(value)) != 1:
            raise ConfigError(
                f"config.json: value_dim is {value!r}; {count} times one width was expected"
            )
        value = value[0]
    width = optional_int({"value_dim": value}, "value_dim", hidden_size)
    if width % hidden_size:
        raise ConfigError(
            f"config.json: value_dim is {width}; a multiple of hidden_size {hidden_size} was "
            "expected"
        )
    return width


def _inner_size(config: Mapping[str, Any], hidden_size: int) -> int:
    if config.get("intermediate_size") is not None:
        return positive_int(config, "intermediate_size")
    whole = hidden_size * optional_int(config, "hidden_ratio", 4)
    return -(-whole // _INNER_UNIT) * _INNER_UNIT
