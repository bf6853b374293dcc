"""Finds a checkpoint's chat template in its files, as transformers does."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harnessapi.text.chat_template import ChatTemplate, TemplateError

_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_SPECIAL_TOKENS: Final = "special_tokens_map.json"
_TEMPLATE: Final = "chat_template.jinja"
_NAMED: Final = "additional_chat_templates"
_DEFAULT: Final = "default"
_VARIABLES: Final = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
_MAX_CHARACTERS: Final = 2**20


def read_chat_template(folder: Path) -> ChatTemplate | None:
    """The template that transformers would take; None where there is none. Raises TemplateError.

    Files (chat_template.jinja, and named ones beside it) go before tokenizer_config.json.
    """
    config = _read_object(folder / _TOKENIZER_CONFIG)
    templates = _templates_of_files(folder) or _templates_of_config(config)
    if not templates:
        return None
    if _DEFAULT not in templates:
        names = ", ".join(sorted(templates))
        raise TemplateError(f"no chat template is called {_DEFAULT!r}; there are: {names}")
    text = templates[_DEFAULT]
    if len(text) > _MAX_CHARACTERS:
        raise TemplateError(
            f"the chat template has {len(text)} characters; at most {_MAX_CHARACTERS} are taken"
        )
    tokens = {**_read_object(folder / _SPECIAL_TOKENS), **config}
    return ChatTemplate(text, _variables(tokens))


def template_files(folder: Path) -> list[Path]:
    """The files that a rendering depends on, those that are there."""
    named = sorted((folder / _NAMED).glob("*.jinja"))
    files = (folder / name for name in (_TOKENIZER_CONFIG, _SPECIAL_TOKENS, _TEMPLATE))
    return [*(file for file in files if file.is_file()), *named]


def _templates_of_files(folder: Path) -> dict[str, str]:
    default = folder / _TEMPLATE
    files = {file.stem: file for file in sorted((folder / _NAMED).glob("*.jinja"))}
    if default.is_file():
        files[_DEFAULT] = default
    try:
        return {name: file.read_text(encoding="utf-8") for name, file in files.items()}
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"a chat template cannot be read: {error}") from error


def _templates_of_config(config: Mapping[str, Any]) -> dict[str, str]:
    value = config.get("chat_template")
    if value is None:
        return {}
    if isinstance(value, str):
        return {_DEFAULT: value}
    entries: list[Any] = value if isinstance(value, list) else [value]
    try:
        return {str(entry["name"]): _text(entry["template"]) for entry in entries}
    except (KeyError, TypeError) as error:
        raise TemplateError(
            f"{_TOKENIZER_CONFIG}: chat_template is neither a text nor a list of named ones"
        ) from error


def _variables(tokens: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by name, each a text or an object with its `content`."""
    found = {}
    for name in _VARIABLES:
        value = tokens.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            found[name] = value
    return found


def _read_object(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TemplateError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TemplateError(f"{path.name} does not hold an object")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
