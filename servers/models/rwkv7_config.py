"""The sizes of RWKV-7's layers, read from a config of flash-linear-attention's `rwkv7`.

Shapes: K keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness_servers.models.config_values import positive_float, require_divisor, require_value
from harness_servers.models.fla_layout import inner_size, num_layers, optional_int
from harness_servers.models.protocol import ConfigError, positive_int


@dataclass(frozen=True, kw_only=True, slots=True)
class RwkvShape:
    """The sizes of a layer, and which of how many it is."""

    hidden_size: int
    num_heads: int
    value_width: int
    inner_size: int
    # Of decays, strengths, the share of the first layer's values, and gates.
    ranks: dict[str, int]
    norm_epsilon: float
    index: int
    num_layers: int

    @property
    def key_size(self) -> int:
        """K."""
        return self.hidden_size // self.num_heads

    @property
    def depth(self) -> float:
        """From 0 at the first layer to 1 at the last."""
        return self.index / max(self.num_layers - 1, 1)

    @property
    def remaining(self) -> float:
        """The share of the layers from this one on."""
        return 1 - self.index / self.num_layers


def layer_shapes(config: Mapping[str, Any]) -> list[RwkvShape]:
    """From the first layer to the last. Raises ConfigError."""
    require_value(config, "hidden_act", "sqrelu")
    hidden_size, count = positive_int(config, "hidden_size"), num_layers(config)
    ranks = {"w": "decay", "a": "a", "v": "v", "g": "gate"}
    defaults = {"w": 64, "a": 64, "v": 16, "g": 128}
    common: dict[str, Any] = {
        "hidden_size": hidden_size,
        "num_heads": _num_heads(config, hidden_size),
        "value_width": _value_width(config, hidden_size, count),
        "inner_size": inner_size(config, 1, 32),
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
