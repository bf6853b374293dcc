"""The files of a checkpoint folder, each read and checked on its own; no model is made here."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from harness_servers.checkpoints.chat_template import ChatTemplate
from harness_servers.checkpoints.checkpoint_config import CheckpointConfig
from harness_servers.checkpoints.codec import Codec
from harness_servers.errors import CheckpointError

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
_PICKLED_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def require_files(folder: Path) -> None:
    """All three files are there. Raises CheckpointError, naming the one that is not."""
    if not (folder / WEIGHTS).is_file():
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLED_SUFFIXES)
        if pickled:
            raise CheckpointError(
                f"it holds pickled weights ({', '.join(pickled)}), which are never loaded; "
                f"convert them to {WEIGHTS}"
            )
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise CheckpointError(f"{name} is missing")


def read_json(path: Path) -> object:
    """What a JSON file holds. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json. Raises CheckpointError."""
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"{path.name} is not a tokenizer: {error}") from error


def make_codec(
    config: CheckpointConfig,
    tokenizer: Tokenizer,
    vocabulary_size: int,
    chat_template: ChatTemplate | None = None,
) -> Codec:
    """Tokenizer and config together, where they fit the model. Raises CheckpointError."""
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    if largest >= vocabulary_size:
        raise CheckpointError(
            f"{TOKENIZER} has token ids up to {largest}; the model's vocabulary ends at "
            f"{vocabulary_size - 1}"
        )
    for token in config.eos_ids:
        if token >= vocabulary_size:
            raise CheckpointError(f"config.json: eos_token_id {token} is outside the vocabulary")
    if config.markers is not None:
        _require_token(tokenizer, config.markers.start)
        _require_token(tokenizer, config.markers.end)
    answer = config.answer_marker
    return Codec(
        tokenizer,
        eos_ids=config.eos_ids,
        answer_id=None if answer is None else _require_token(tokenizer, answer),
        markers=config.markers,
        chat_template=chat_template,
    )


def check_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises CheckpointError where the weights' names or shapes are not the expected ones."""
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{WEIGHTS}: missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'}"
        )
    for name, shape in expected.items():
        if shape != found[name]:
            raise CheckpointError(
                f"{WEIGHTS}: {name} has shape {found[name]}; config.json asks for {shape}"
            )


def digest(*paths: Path) -> str:
    """SHA-256 over the files' own digests, in hexadecimal."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _require_token(tokenizer: Tokenizer, marker: str) -> int:
    """Markers are single tokens: then text after one is never half written when it is acted on."""
    token: int | None = tokenizer.token_to_id(marker)
    if token is None:
        raise CheckpointError(f"config.json: marker {marker!r} is not a token of {TOKENIZER}")
    return token
