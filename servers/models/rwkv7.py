"""RWKV-7, in the layout of flash-linear-attention's `rwkv7`.

Every layer is time mixing, then channel mixing (rwkv7_mixers.py), each behind a layer norm; one
more norm stands behind the embedding. Source: Peng et al., "RWKV-7 'Goose' with Expressive Dynamic
State Evolution", arXiv 2503.14456. Embeddings begin wider than the authors' (0.1, not 0.0001): the
norm behind them takes their size away, and a head that shares them needs it.
Shapes: D width, E width of the values, W = D + E.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.config_values import flag
from harness_servers.models.fla_layout import FlaModel
from harness_servers.models.rwkv7_config import layer_shapes
from harness_servers.models.rwkv7_mixers import ChannelMix, TimeMix
from harness_servers.models.token_mixer import ResidualLayer


class _StreamNorm(nn.LayerNorm):
    """Of the residual stream; the first layer's values beside it stay as they are."""

    def forward(self, hidden_W: Tensor) -> Tensor:
        size = self.normalized_shape[0]
        return torch.cat([super().forward(hidden_W[..., :size]), hidden_W[..., size:]], -1)


class Rwkv7Model(FlaModel):
    """A stack of time mixing and channel mixing."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Raises ConfigError."""
        shapes = layer_shapes(config)
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
