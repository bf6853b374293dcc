"""The shape of a Llama, read from a config.json in the layout of Hugging Face's `llama`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from harnessapi.cache_policy import FULL, CachePolicy, CachePolicyError, parse_cache_policy

from harness_servers.models.attention import AttentionShape
from harness_servers.models.attention_config import parse_attention
from harness_servers.models.config_values import flag, positive_float, require_value
from harness_servers.models.protocol import ConfigError, positive_int

_MAX_LAYERS: Final = 1024
_POSITIONS: Final = "max_position_embeddings"
# Ours: which tokens the layers keep, as `harness serve model --cache-policy` takes it.
_POLICY: Final = "cache_policy"


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaShape:
    """The sizes of a model, and what its layers keep of a text."""

    attention: AttentionShape
    num_layers: int
    inner_size: int
    vocabulary_size: int
    context_limit: int
    norm_epsilon: float
    use_mlp_bias: bool
    is_tied: bool
    policy: CachePolicy


def parse_llama(config: Mapping[str, Any]) -> LlamaShape:
    """Checks every value. Raises ConfigError, naming it."""
    require_value(config, "hidden_act", "silu")
    shape = LlamaShape(
        attention=parse_attention({"num_key_value_heads": None, **config}),
        num_layers=positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS),
        inner_size=positive_int(config, "intermediate_size"),
        vocabulary_size=positive_int(config, "vocab_size"),
        context_limit=positive_int({_POSITIONS: 2048, **config}, _POSITIONS),
        norm_epsilon=positive_float(config, "rms_norm_eps", 1e-6),
        use_mlp_bias=flag(config, "mlp_bias", False),
        is_tied=flag(config, "tie_word_embeddings", False),
        policy=CachePolicy(),
    )
    told = config.get(_POLICY, FULL)
    try:
        policy = parse_cache_policy(str(told))
    except CachePolicyError as error:
        raise ConfigError(f"config.json: {_POLICY}: {error}") from error
    return check_policy(shape, policy)


def check_policy(shape: LlamaShape, policy: CachePolicy) -> LlamaShape:
    """The same under this policy. Raises ConfigError for layers that there are not."""
    for layer in sorted(policy.full_layers):
        if layer >= shape.num_layers:
            raise ConfigError(
                f"{_POLICY}: layer {layer} is to keep all tokens; layers are 0 to "
                f"{shape.num_layers - 1}"
            )
    return replace(shape, policy=policy)
