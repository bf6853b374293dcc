"""Loads and saves a checkpoint: a folder with config.json, model.safetensors and tokenizer.json.

Nothing is ever unpickled and no code of a checkpoint runs.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from harness_servers.checkpoints.checkpoint_config import DTYPES, CheckpointConfig, parse_config
from harness_servers.checkpoints.checkpoint_files import (
    CONFIG,
    TOKENIZER,
    WEIGHTS,
    check_shapes,
    digest,
    make_codec,
    read_json,
    read_tokenizer,
    require_files,
)
from harness_servers.checkpoints.codec import Codec
from harness_servers.checkpoints.model_card import CARD, read_trained_tasks
from harness_servers.checkpoints.template_files import read_chat_template, template_files
from harness_servers.errors import CheckpointError
from harness_servers.models import model_class
from harness_servers.models.protocol import CheckpointModel, ConfigError, ModelShape

_TIED_HEAD: Final = "lm_head.weight"

ModelT_co = TypeVar("ModelT_co", bound=ModelShape, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Generic[ModelT_co]):
    """A loaded checkpoint. The digests are SHA-256, over all three files and over the tokenizer."""

    folder: Path
    name: str
    config: CheckpointConfig
    model: ModelT_co
    codec: Codec
    num_parameters: int
    digest: str
    tokenizer_digest: str
    # As the model card says, which is no part of the digest.
    trained_tasks: tuple[str, ...]


def load_checkpoint(folder: Path) -> Checkpoint[CheckpointModel]:
    """A checkpoint of one of our models. Raises CheckpointError, naming file and value."""
    return load_with(folder, _load_model, parse_config)


def load_with(
    folder: Path,
    load_model: Callable[[CheckpointConfig, Path], tuple[ModelT_co, int]],
    parse: Callable[[object], CheckpointConfig],
) -> Checkpoint[ModelT_co]:
    """Reads and checks the whole folder; `load_model` also counts the parameters.

    Raises CheckpointError, naming file and value.
    """
    try:
        return _load(folder, load_model, parse)
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


def _load(
    folder: Path,
    load_model: Callable[[CheckpointConfig, Path], tuple[ModelT_co, int]],
    parse: Callable[[object], CheckpointConfig],
) -> Checkpoint[ModelT_co]:
    if not folder.is_dir():
        raise CheckpointError("there is no such folder")
    require_files(folder)
    config = parse(read_json(folder / CONFIG))
    tokenizer = read_tokenizer(folder / TOKENIZER)
    model, num_parameters = load_model(config, folder)
    # How a conversation is worded is part of what a checkpoint is; ours have no such files.
    templates = template_files(folder)
    return Checkpoint(
        folder=folder,
        name=folder.resolve().name,
        config=config,
        model=model,
        codec=make_codec(config, tokenizer, model.vocabulary_size, read_chat_template(folder)),
        num_parameters=num_parameters,
        digest=digest(folder / CONFIG, folder / WEIGHTS, folder / TOKENIZER, *templates),
        tokenizer_digest=digest(folder / TOKENIZER, *templates),
        trained_tasks=read_trained_tasks(folder / CARD),
    )


def _load_model(config: CheckpointConfig, folder: Path) -> tuple[CheckpointModel, int]:
    tensors = _read_weights(folder / WEIGHTS, DTYPES[config.dtype])
    if config.raw.get("tie_word_embeddings") is True:
        # Some writers save the embeddings under this name once more; transformers ignores it too.
        tensors.pop(_TIED_HEAD, None)
    found = model_class(config.model_type)
    try:
        # Shapes are compared on a model without memory: a wrong config may name a huge one.
        with torch.device("meta"):
            expected = found.from_config(config.raw).state_dict()
        check_shapes(shapes_of(expected), shapes_of(tensors))
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


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
