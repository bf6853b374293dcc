"""What config.json says beside the shape of the model; every value is checked here."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from harnessapi.values import Markers

from harness_servers.errors import CheckpointError
from harness_servers.models import MODELS

_DTYPES: Final = ("float32", "bfloat16", "float16", "float64", "auto")
_TOKEN_KEYS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")
# A message names so many of the known values at most.
_MAX_NAMED: Final = 12
_MAX_SHOWN: Final = 80
# No vocabulary has as many.
_MAX_TOKEN_ID: Final = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """A config.json; `raw` is the whole of it, for the model to read its shape from.

    `eos_ids` end a completion, each of them; there may be none.
    """

    model_type: str
    eos_ids: frozenset[int]
    answer_marker: str | None
    markers: Markers | None
    styles: tuple[str, ...]
    raw: Mapping[str, Any]


def parse_config(
    raw: object, generation: object = None, *, model_types: Collection[str] = MODELS.keys()
) -> CheckpointConfig:
    """Checks a parsed config.json, and generation_config.json, against what a backend hosts.

    Raises CheckpointError.
    """
    if not isinstance(raw, dict):
        raise CheckpointError("config.json does not hold an object")
    model_type = parse_model_type(raw, model_types)
    _check_stored(raw)
    return CheckpointConfig(
        model_type=model_type,
        eos_ids=_parse_eos(raw, generation),
        answer_marker=_parse_marker(raw.get("answer_marker")),
        markers=_parse_markers(raw.get("search_channel")),
        styles=_parse_styles(raw.get("styles", [])),
        raw=raw,
    )


def parse_model_type(raw: Mapping[str, Any], known: Collection[str]) -> str:
    """One of the known types; without running any code. Raises CheckpointError."""
    value = raw.get("model_type")
    if raw.get("auto_map") and value not in [*known]:
        raise CheckpointError(
            f"config.json: model_type {_short(value)} is code that comes with the checkpoint "
            "(auto_map), which would have to be trusted: it is never run; what transformers has a "
            "type for itself can be served"
        )
    return _parse_name(raw, "model_type", known)


def _parse_name(raw: Mapping[str, Any], key: str, known: Collection[str]) -> str:
    """One of the known names. Raises CheckpointError, with what it may have been meant for."""
    if key not in raw:
        raise CheckpointError(f"config.json has no {key!r}")
    value = raw[key]
    if not isinstance(value, str) or value not in known:
        near = difflib.get_close_matches(str(value), known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        names = ", ".join([*known][:_MAX_NAMED]) + (", ..." if len(known) > _MAX_NAMED else "")
        raise CheckpointError(f"config.json: unknown {key} {_short(value)}{hint} (known: {names})")
    return value


def _check_stored(raw: Mapping[str, Any]) -> None:
    """What is said of the weights. How they are stored is read from them, not from here."""
    # Before version 5 transformers wrote the dtype under another name.
    for key in ("dtype", "torch_dtype"):
        if raw.get(key) is not None:
            _parse_name({key: str(raw[key]).removeprefix("torch.")}, key, _DTYPES)
    if raw.get("quantization_config"):
        raise CheckpointError(
            "config.json: quantization_config: quantized weights are not served; save the model "
            "in float32, bfloat16 or float16"
        )


def _parse_eos(raw: Mapping[str, Any], generation: object) -> frozenset[int]:
    """From everywhere that transformers looks. Raises CheckpointError, also for other token ids."""
    text = raw.get("text_config")
    found: set[int] = set()
    for where, config in (
        ("config.json", raw),
        ("config.json: text_config", text),
        ("generation_config.json", generation),
    ):
        if not isinstance(config, dict):
            if config is None:
                continue
            raise CheckpointError(f"{where} does not hold an object")
        for key in _TOKEN_KEYS:
            ids = _token_ids(where, key, config.get(key))
            if key == "eos_token_id":
                # Some write -1 where they have none.
                found |= {token for token in ids if token >= 0}
    return frozenset(found)


def _token_ids(where: str, key: str, value: object) -> list[int]:
    ids: list[Any] = [] if value is None else value if isinstance(value, list) else [value]
    for token in ids:
        is_number = isinstance(token, int) and not isinstance(token, bool)
        if not is_number or not -1 <= token <= _MAX_TOKEN_ID:
            raise CheckpointError(f"{where}: {key} is {_short(value)}; a token id was expected")
    return ids


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


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
