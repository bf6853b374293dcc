"""Loads and saves a checkpoint: a folder with config.json, model.safetensors and tokenizer.json.

Nothing is ever unpickled and no code of a checkpoint runs.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from servers.checkpoint_config import DTYPES, CheckpointConfig, parse_config
from servers.errors import CheckpointError
from servers.models import model_class
from servers.models.protocol import CheckpointModel, ConfigError
from servers.text import Codec

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
_TIED_HEAD: Final = "lm_head.weight"
_PICKLED_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A loaded checkpoint. The digests are SHA-256, over all three files and over the tokenizer."""

    name: str
    config: CheckpointConfig
    model: CheckpointModel
    codec: Codec
    num_parameters: int
    digest: str
    tokenizer_digest: str


def load_checkpoint(folder: Path) -> Checkpoint:
    """Reads and checks the whole folder. Raises CheckpointError, naming file and value."""
    try:
        return _load(folder)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {folder}: {error}") from error


def save_checkpoint(
    folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], tokenizer: Tokenizer
) -> None:
    """Writes the three files, each replaced at once: a reader never sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        written = Path(scratch)
        (written / CONFIG).write_text(json.dumps(dict(config), indent=2) + "\n")
        tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(tensors, written / WEIGHTS, metadata={"format": "pt"})
        (written / WEIGHTS).chmod(0o644)  # the library makes it readable to its owner alone
        tokenizer.save(str(written / TOKENIZER))
        for name in (TOKENIZER, WEIGHTS, CONFIG):
            os.replace(written / name, folder / name)


def _load(folder: Path) -> Checkpoint:
    if not folder.is_dir():
        raise CheckpointError("there is no such folder")
    _require_files(folder)
    config = parse_config(_read_json(folder / CONFIG))
    tokenizer = _read_tokenizer(folder / TOKENIZER)
    model, num_parameters = _load_model(config, folder / WEIGHTS)
    return Checkpoint(
        name=folder.resolve().name,
        config=config,
        model=model,
        codec=_make_codec(config, tokenizer, model.vocabulary_size),
        num_parameters=num_parameters,
        digest=_digest(folder / CONFIG, folder / WEIGHTS, folder / TOKENIZER),
        tokenizer_digest=_digest(folder / TOKENIZER),
    )


def _require_files(folder: Path) -> None:
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


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error


def _read_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"{path.name} is not a tokenizer: {error}") from error


def _load_model(config: CheckpointConfig, weights: Path) -> tuple[CheckpointModel, int]:
    tensors = _read_weights(weights, DTYPES[config.dtype])
    if config.raw.get("tie_word_embeddings") is True:
        # Some writers save the embeddings under this name once more; transformers ignores it too.
        tensors.pop(_TIED_HEAD, None)
    found = model_class(config.model_type)
    try:
        # Shapes are compared on a model without memory: a wrong config may name a huge one.
        with torch.device("meta"):
            _check_shapes(found.from_config(config.raw).state_dict(), tensors)
        model = found.from_config(config.raw)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    model.load_state_dict(tensors)
    model.eval()
    return model, sum(tensor.numel() for tensor in tensors.values())


def _read_weights(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not a safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != dtype:
            raise CheckpointError(f"{path.name}: {name} is {tensor.dtype}; config.json: {dtype}")
    return tensors


def _check_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        raise CheckpointError(
            f"{WEIGHTS}: missing: {', '.join(missing) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'}"
        )
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise CheckpointError(
                f"{WEIGHTS}: {name} has shape {tuple(found[name].shape)}; "
                f"config.json asks for {tuple(tensor.shape)}"
            )


def _make_codec(config: CheckpointConfig, tokenizer: Tokenizer, vocabulary_size: int) -> Codec:
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
    )


def _require_token(tokenizer: Tokenizer, marker: str) -> int:
    """Markers are single tokens: then text after one is never half written when it is acted on."""
    token: int | None = tokenizer.token_to_id(marker)
    if token is None:
        raise CheckpointError(f"config.json: marker {marker!r} is not a token of {TOKENIZER}")
    return token


def _digest(*paths: Path) -> str:
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()
