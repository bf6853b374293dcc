"""Reads single values of a config.json; every error names the key and the value."""

import math
from collections.abc import Mapping
from typing import Any

from harness_servers.models.protocol import ConfigError


def flag(config: Mapping[str, Any], key: str, default: bool) -> bool:
    """True or false under `key`. Raises ConfigError."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"config.json: {key} is {value!r}; true or false was expected")
    return value


def positive_float(config: Mapping[str, Any], key: str, default: float) -> float:
    """A finite number above 0 under `key`. Raises ConfigError."""
    value = config.get(key, default)
    if not is_number(value) or not 0 < value < math.inf:
        raise ConfigError(f"config.json: {key} is {value!r}; a number above 0 was expected")
    return float(value)


def share(config: Mapping[str, Any], key: str, default: float | None = None) -> float:
    """A number from 0 to 1 under `key`. Raises ConfigError."""
    if default is None and key not in config:
        raise ConfigError(f"config.json has no {key!r}")
    value = config.get(key, default)
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError(f"config.json: {key} is {value!r}; a number from 0 to 1 was expected")
    return float(value)


def require_value(config: Mapping[str, Any], key: str, only: object) -> None:
    """Raises ConfigError where `key` is there and is not the one value that is known."""
    value = config.get(key, only)
    if value != only:
        raise ConfigError(f"config.json: {key} is {value!r}; only {only!r} is known")


def require_tied(config: Mapping[str, Any]) -> None:
    """Raises ConfigError where embedding and head are not one matrix."""
    value = config.get("tie_word_embeddings", True)
    if value is not True:
        raise ConfigError(
            f"config.json: tie_word_embeddings is {value!r}; {config.get('model_type')} ties them"
        )


def require_divisor(config: Mapping[str, Any], divisor: str, key: str, whole: int) -> None:
    """Raises ConfigError where the number under `divisor` does not divide `whole`, named `key`."""
    if whole % config[divisor]:
        raise ConfigError(f"config.json: {divisor} {config[divisor]} does not divide {key} {whole}")


def layer_numbers(config: Mapping[str, Any], key: str, num_layers: int) -> tuple[int, ...]:
    """The layers, from 0, that a list under `key` names; none without it. Raises ConfigError."""
    numbers = config.get(key)
    if numbers is None:
        numbers = []
    if not isinstance(numbers, list) or not all(
        isinstance(number, int) and 0 <= number < num_layers for number in numbers
    ):
        raise ConfigError(f"config.json: {key} is {numbers!r}; layers are 0 to {num_layers - 1}")
    return tuple(sorted(set(numbers)))


def time_step_limit(config: Mapping[str, Any]) -> tuple[float, float]:
    """The range of Mamba2's time steps; from 0 to infinity by default. Raises ConfigError.

    transformers writes infinity as `{"__float__": "Infinity"}`, Infinity or null.
    """
    value = config.get("time_step_limit")
    if value is None:
        return 0.0, math.inf
    limits = [_as_float(limit) for limit in value] if isinstance(value, (list, tuple)) else []
    if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
        raise ConfigError(f"config.json: time_step_limit is {value!r}; two numbers were expected")
    return limits[0], limits[1]


def is_number(value: object) -> bool:
    """True for a float or a whole number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_float(value: object) -> float:
    if value is None or value == {"__float__": "Infinity"}:
        return math.inf
    return float(value) if isinstance(value, (int, float)) else math.nan
