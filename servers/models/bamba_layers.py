"""The layers of a hybrid: a Mamba2 mixer or attention, then a feed-forward part.

Parameters are named, and made in the order, as in Hugging Face's `bamba`.
Shapes: D width.
"""

from collections.abc import Callable, Iterable
from typing import cast

from torch import Tensor, nn

from harness_servers.models.attention import Attention
from harness_servers.models.bamba_config import HybridConfig
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.mamba2_mixer import Mamba2Mixer
from harness_servers.models.rms_norm import RmsNorm

# What a layer does between its norm and its residual.
Mix = Callable[[int, "Layer", Tensor], Tensor]


class Layer(nn.Module):
    """Norm, mixer or attention, residual; norm, feed-forward, residual."""

    def __init__(self, config: HybridConfig, *, attends: bool) -> None:
        super().__init__()
        self.attends = attends
        size, epsilon = config.mixer.hidden_size, config.mixer.norm_epsilon
        self.input_layernorm = RmsNorm(size, eps=epsilon)
        self.pre_ff_layernorm = RmsNorm(size, eps=epsilon)
        self.feed_forward = GatedFeedForward(size, config.inner_size, use_bias=config.use_mlp_bias)
        if attends:
            self.self_attn = Attention(config.attention)
        else:
            self.mamba = Mamba2Mixer(config.mixer)


class Backbone(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        size = config.mixer.hidden_size
        self.embed_tokens = nn.Embedding(config.vocabulary_size, size)
        nn.init.normal_(self.embed_tokens.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(
            Layer(config, attends=layer in config.attention_layers)
            for layer in range(config.num_layers)
        )
        self.final_layernorm = RmsNorm(size, eps=config.mixer.norm_epsilon)

    def forward(self, tokens: Tensor, mix: Mix) -> Tensor:
        """Any leading dimensions that `mix` takes."""
        hidden_D: Tensor = self.embed_tokens(tokens)
        for index, layer in enumerate(cast(Iterable[Layer], self.layers)):
            hidden_D = hidden_D + mix(index, layer, layer.input_layernorm(hidden_D))
            hidden_D = hidden_D + layer.feed_forward(layer.pre_ff_layernorm(hidden_D))
        normed_D: Tensor = self.final_layernorm(hidden_D)
        return normed_D
