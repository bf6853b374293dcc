"""Rotary positions that are scaled by the longest sequence in sight, as a config says.

What such a model makes of a sequence depends on its neighbours, where these are long.
"""

from collections.abc import Mapping
from typing import Any, Final

_ORIGINAL: Final = "original_max_position_embeddings"


def is_dynamic(config: Any) -> bool:
    """Whether every length has frequencies of its own."""
    return any(scaling.get("rope_type") == "dynamic" for scaling in _scalings(config))


def switches_from(config: Any) -> int | None:
    """The length, in tokens, from which other frequencies are used; None: there is none."""
    lengths = [
        scaling.get(_ORIGINAL) or getattr(config, _ORIGINAL, None)
        for scaling in _scalings(config)
        if scaling.get("rope_type") == "longrope"
    ]
    return min((length for length in lengths if length), default=None)


def _scalings(config: Any) -> list[Mapping[str, Any]]:
    told = getattr(config, "rope_parameters", None)
    if not isinstance(told, Mapping):
        return []
    by_layer_type = [value for value in told.values() if isinstance(value, Mapping)]
    return by_layer_type or [told]
