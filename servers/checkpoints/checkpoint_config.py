"""What config.json says beside the shape of the model; every value is checked here."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from harnessapi.values import Markers

from harness_servers.errors import CheckpointError
from harness_servers.models import MODELS

DTYPES: Final[dict[str, torch.dtype]] = {"float32": torch.float32}
# A message names so many of the known values at most.
_MAX_NAMED: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """A config.json; `raw` is the whole of it, for the model to read its shape from."""

    model_type: str
    dtype: str
    eos_ids: frozenset[int]
    answer_marker: str | None
    markers: Markers | None
    styles: tuple[str, ...]
    raw: Mapping[str, Any]


def parse_config(
    raw: object,
    *,
    model_types: Collection[str] = MODELS.keys(),
    dtypes: Collection[str] = DTYPES.keys(),
) -> CheckpointConfig:
    """Checks a parsed config.json against what a backend hosts. Raises CheckpointError."""
    if not isinstance(raw, dict):
        raise CheckpointError("config.json does not hold an object")
    # Before version 5 transformers wrote the dtype under another name.
    dtype_key = "torch_dtype" if "torch_dtype" in raw and "dtype" not in raw else "dtype"
    return CheckpointConfig(
        model_type=parse_name(raw, "model_type", model_types),
        dtype=parse_name(raw, dtype_key, dtypes),
        eos_ids=_parse_eos(raw.get("eos_token_id")),
        answer_marker=_parse_marker(raw.get("answer_marker")),
        markers=_parse_markers(raw.get("search_channel")),
        styles=_parse_styles(raw.get("styles", [])),
        raw=raw,
    )


def parse_name(raw: Mapping[str, Any], key: str, known: Collection[str]) -> str:
    """One of the known names. Raises CheckpointError, with what it may have been meant for."""
    if key not in raw:
        raise CheckpointError(f"config.json has no {key!r}")
    value = raw[key]
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        names = ", ".join([*known][:_MAX_NAMED]) + (", ..." if len(known) > _MAX_NAMED else "")
        raise CheckpointError(f"config.json: unknown {key} {value!r}{hint} (known: {names})")
    return str(value)


def _parse_eos(value: object) -> frozenset[int]:
    ids = value if isinstance(value, list) else [value]
    if not ids or not all(isinstance(token, int) and token >= 0 for token in ids):
        raise CheckpointError(f"config.json: eos_token_id is {value!r}; a token id was expected")
    return frozenset(ids)


def _parse_marker(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise CheckpointError(f"config.json: answer_marker is {value!r}; a word was expected")
    return value


def _parse_markers(value: object) -> Markers | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
        raise CheckpointError(f"config.json: search_channel is {value!r}; words were expected")
    try:
        return Markers(
            start=value["start_marker"],
            end=value["end_marker"],
            failed=value["failed_text"],
            passage_separator=value["passage_separator"],
        )
    except KeyError as error:
        raise CheckpointError(f"config.json: search_channel has no {error}") from error
    except ValueError as error:
        raise CheckpointError(f"config.json: search_channel: {error}") from error


def _parse_styles(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(style, str) for style in value):
        raise CheckpointError(f"config.json: styles is {value!r}; a list of names was expected")
    return tuple(value)
