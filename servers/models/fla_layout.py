"""What models in the layouts of flash-linear-attention have in common.

Shapes: D width, V vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, cast

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.config_values import flag, require_value
from harness_servers.models.mamba2_mixer import INITIAL_EMBEDDING_STD
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import TokenMixer

_MAX_LAYERS: Final = 1024
# Where no inner width is given, it is a whole number of these.
_INNER_UNIT: Final = 256


class GatedMlp(nn.Module):
    """Knows each token alone: one projection gates another."""

    def __init__(self, hidden_size: int, inner_size: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, inner_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, inner_size, bias=False)
        self.down_proj = nn.Linear(inner_size, hidden_size, bias=False)

    def forward(self, hidden_D: Tensor) -> Tensor:
        """Any leading dimensions."""
        output_D: Tensor = self.down_proj(F.silu(self.gate_proj(hidden_D)) * self.up_proj(hidden_D))
        return output_D


class _Backbone(nn.Module):
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

    family: ClassVar[str] = "RNN"

    def __init__(
        self, config: Mapping[str, Any], layers: Iterable[TokenMixer], norm: nn.Module
    ) -> None:
        """Raises ConfigError."""
        super().__init__()
        self.vocabulary_size = positive_int(config, "vocab_size")
        hidden_size = positive_int(config, "hidden_size")
        self.model = _Backbone(self.vocabulary_size, hidden_size, layers, norm)
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


def num_layers(config: Mapping[str, Any]) -> int:
    """Of a config that asks for nothing between layers but what is known. Raises ConfigError."""
    require_value(config, "attn", None)
    require_value(config, "attnres_block_size", None)
    return positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS)


def mlp_size(config: Mapping[str, Any]) -> int:
    """The inner width of a GatedMlp. Raises ConfigError."""
    require_value(config, "hidden_act", "swish")
    if config.get("intermediate_size") is not None:
        return positive_int(config, "intermediate_size")
    ratio = 4 if config.get("hidden_ratio") is None else positive_int(config, "hidden_ratio")
    whole = positive_int(config, "hidden_size") * ratio * 2 // 3
    return -(-whole // _INNER_UNIT) * _INNER_UNIT


def optional_int(config: Mapping[str, Any], key: str, default: int) -> int:
    """The whole number from 1 under `key`, the default where there is none or null. ConfigError."""
    return default if config.get(key) is None else positive_int(config, key)


def whole_share(config: Mapping[str, Any], key: str, share: float, whole_key: str) -> int:
    """`share` (of `key`) times the number under `whole_key`. Raises ConfigError if not whole."""
    size = share * positive_int(config, whole_key)
    if size < 1 or size != int(size):
        raise ConfigError(
            f"config.json: {key} {share} of {whole_key} {config[whole_key]} is {size}; "
            "a whole number from 1 was expected"
        )
    return int(size)
