"""What models in the layouts of flash-linear-attention have in common.

Shapes: D width, V vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from torch import Tensor, nn

from harness_servers.models.config_values import flag, positive_float, require_value
from harness_servers.models.feed_forward import GatedFeedForward
from harness_servers.models.initial_weights import INITIAL_EMBEDDING_STD
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import ResidualLayer, TokenMixer

_MAX_LAYERS: Final = 1024


class _FlaBackbone(nn.Module):
    def __init__(
        self, vocabulary_size: int, hidden_size: int, layers: Iterable[TokenMixer], norm: nn.Module
    ) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary_size, hidden_size)
        nn.init.normal_(self.embeddings.weight, std=INITIAL_EMBEDDING_STD)
        self.layers = nn.ModuleList(layers)
        self.norm = norm


class FlaModel(StackedModel):
    """Embedding, layers, a norm and a head, under the library's names.

    Unlike the library, no weight is drawn with one width for all sizes (its initializer_range):
    torch's own draws fit small widths too.
    """

    family = "RNN"

    def __init__(
        self, config: Mapping[str, Any], layers: Iterable[TokenMixer], norm: nn.Module
    ) -> None:
        """Raises ConfigError."""
        super().__init__()
        self.vocabulary_size = positive_int(config, "vocab_size")
        hidden_size = positive_int(config, "hidden_size")
        self.model = _FlaBackbone(self.vocabulary_size, hidden_size, layers, norm)
        is_tied = flag(config, "tie_word_embeddings", False)
        self.lm_head = None if is_tied else nn.Linear(hidden_size, self.vocabulary_size, bias=False)

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.model.embeddings

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.model.layers)

    @property
    def last_norm(self) -> nn.Module:
        """See StackedModel."""
        return self.model.norm

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return (self.model.embeddings if self.lm_head is None else self.lm_head).weight


class MixerModel(FlaModel):
    """Every layer is one mixer and one feed-forward part, each behind an RMS norm."""

    def __init__(self, config: Mapping[str, Any], make_mixer: Callable[[], TokenMixer]) -> None:
        """Raises ConfigError."""
        size, epsilon = (
            positive_int(config, "hidden_size"),
            positive_float(config, "norm_eps", 1e-6),
        )
        width = mlp_size(config)
        layers = [
            ResidualLayer(
                {
                    "attn_norm": RmsNorm(size, eps=epsilon),
                    "attn": make_mixer(),
                    "mlp_norm": RmsNorm(size, eps=epsilon),
                    "mlp": GatedFeedForward(size, width),
                }
            )
            for _ in range(num_layers(config))
        ]
        super().__init__(config, layers, RmsNorm(size, eps=epsilon))


def num_layers(config: Mapping[str, Any]) -> int:
    """Of a config that asks for nothing between layers but what is known. Raises ConfigError."""
    require_value(config, "attn", None)
    require_value(config, "attnres_block_size", None)
    return positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)


def mlp_size(config: Mapping[str, Any]) -> int:
    """The inner width of a GatedFeedForward. Raises ConfigError."""
    require_value(config, "hidden_act", "swish")
    return inner_size(config, 2 / 3, 256)


def inner_size(config: Mapping[str, Any], share: float, unit: int) -> int:
    """As it is given; else a share of hidden_ratio times hidden_size, rounded up to whole units.

    Raises ConfigError.
    """
    if config.get("intermediate_size") is not None:
        return positive_int(config, "intermediate_size")
    given = {key: value for key, value in config.items() if value is not None}
    ratio = positive_float(given, "hidden_ratio", 4)
    return -(-int(positive_int(config, "hidden_size") * ratio * share) // unit) * unit


def optional_int(config: Mapping[str, Any], key: str, default: int) -> int:
    """The whole number from 1 under `key`, the default where there is none or null. ConfigError."""
    return default if config.get(key) is None else positive_int(config, key)


def whole_share(config: Mapping[str, Any], key: str, share: float, whole_key: str) -> int:
    """`share` (of `key`) times the number under `whole_key`. Raises ConfigError if not whole."""
    size = share * positive_int(config, whole_key)
    if round(size) < 1 or not math.isclose(size, round(size)):
        raise ConfigError(
            f"config.json: {key} {share} of {whole_key} {config[whole_key]} is {size}; "
            "a whole number from 1 was expected"
        )
    return round(size)
