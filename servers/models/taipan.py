"""Taipan: Mamba2 layers, and few layers in which a chosen share of the tokens attends.

Source: Nguyen et al., "Taipan", arXiv 2410.18572, section 3. A gate with two scores for each token
chooses; in training by Gumbel-softmax, straight through, with a term of the loss that draws the
share of chosen tokens to a wanted one; where it is served by the larger score. Positions are known
from Mamba2 alone. What the paper leaves open or was not to be had, and is chosen here: the gate is
linear and reads what attention reads; the chosen tokens attend to all tokens of the window, chosen
or not; a feed-forward part stands behind attention and none behind Mamba2; the temperature is 1,
and the term of the loss weighs 0.1.

There is no published checkpoint, so the layout is ours, with the keys and names of `bamba` where it
has them, and `attention_window`, `attention_share`. A layer of `attn_layer_indices` attends, any
other is Mamba2.
Shapes: D width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, cast

from torch import Tensor, nn

from harness_servers.models.attention_config import parse_heads
from harness_servers.models.bamba_config import parse_mixer
from harness_servers.models.config_values import flag, layer_numbers, positive_float, require_value
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.taipan_layers import MambaLayer, SelectiveLayer
from harness_servers.models.token_mixer import TokenMixer

_MAX_LAYERS: Final = 1024
_MAX_WINDOW: Final = 2**20
_SHARE: Final = 0.15


class _TaipanBackbone(nn.Module):
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        mixer = parse_mixer(config)
        num_layers = positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)
        attending = layer_numbers(config, "attn_layer_indices", num_layers)
        self.embed_tokens = nn.Embedding(positive_int(config, "vocab_size"), mixer.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(
            _selective_layer(config, mixer.norm_epsilon)
            if index in attending
            else MambaLayer(mixer)
            for index in range(num_layers)
        )
        self.final_layernorm = RmsNorm(mixer.hidden_size, eps=mixer.norm_epsilon)


class TaipanModel(StackedModel):
    """A stack of such layers between embedding and head."""

    family = "HYBRID"

    def __init__(self, backbone: _TaipanBackbone, *, tied: bool) -> None:
        super().__init__()
        self.model = backbone
        self.vocabulary_size, width = backbone.embed_tokens.weight.shape
        self.lm_head = None if tied else nn.Linear(width, self.vocabulary_size, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of this shape. Raises ConfigError."""
        require_value(config, "hidden_act", "silu")
        return cls(_TaipanBackbone(config), tied=flag(config, "tie_word_embeddings", False))

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.model.embed_tokens

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.model.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.model.final_layernorm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.model.embed_tokens if self.lm_head is None else self.lm_head).weight


def _selective_layer(config: Mapping[str, Any], epsilon: float) -> SelectiveLayer:
    share = positive_float(config, "attention_share", _SHARE)
    if share > 1:
        raise ConfigError(f"config.json: attention_share is {share}; at most 1 was expected")
    return SelectiveLayer(
        parse_heads(config),
        window=positive_int(config, "attention_window", at_most=_MAX_WINDOW),
        share=share,
        inner_size=positive_int(config, "intermediate_size"),
        epsilon=epsilon,
    )
