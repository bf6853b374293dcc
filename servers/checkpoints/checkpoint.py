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
from harnessapi.text.chat_template import TemplateError
from harnessapi.text.template_files import template_files
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from harness_servers.checkpoints.checkpoint_config import CheckpointConfig, parse_config
from harness_servers.checkpoints.checkpoint_files import (
    CONFIG,
    GENERATION_CONFIG,
    TOKENIZER,
    WEIGHTS,
    check_shapes,
    digest,
    load_codec,
    read_configs,
    require_files,
)
from harness_servers.checkpoints.codec import Codec
from harness_servers.checkpoints.model_card import CARD, ModelCard, read_card
from harness_servers.checkpoints.weight_files import WeightFiles, find_weights
from harness_servers.errors import CheckpointError
from harness_servers.models import model_class
from harness_servers.models.protocol import CheckpointModel, ConfigError, ModelShape

_TIED_HEAD: Final = "lm_head.weight"

ModelT_co = TypeVar("ModelT_co", bound=ModelShape, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Generic[ModelT_co]):
    """A loaded checkpoint. The digests are SHA-256, over all files and over the tokenizer."""

    folder: Path
    name: str
    config: CheckpointConfig
    model: ModelT_co
    codec: Codec
    num_parameters: int
    # How the weights are stored; what is computed in is float32.
    stored_dtype: str
    digest: str
    tokenizer_digest: str
    # No part of the digest.
    card: ModelCard


# Makes the model of a config and its weights, and counts the parameters.
LoadModel = Callable[[CheckpointConfig, Path, WeightFiles], tuple[ModelT_co, int]]


def load_checkpoint(folder: Path) -> Checkpoint[CheckpointModel]:
    """A checkpoint of one of our models. Raises CheckpointError, naming file and value."""
    return load_with(folder, _load_model, parse_config)


def load_with(
    folder: Path,
    load_model: LoadModel[ModelT_co],
    parse: Callable[[object, object], CheckpointConfig],
) -> Checkpoint[ModelT_co]:
    """Reads and checks the whole folder. Raises CheckpointError, naming file and value."""
    try:
        return _load(folder, load_model, parse)
    except (CheckpointError, TemplateError) as error:
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
    load_model: LoadModel[ModelT_co],
    parse: Callable[[object, object], CheckpointConfig],
) -> Checkpoint[ModelT_co]:
    if not folder.is_dir():
        raise CheckpointError("there is no such folder")
    require_files(folder)
    config = parse(*read_configs(folder))
    weights = find_weights(folder)
    model, num_parameters = load_model(config, folder, weights)
    # More files where there are any: the digest of a folder without them stays what it was. How a
    # conversation is worded is part of what a checkpoint is, as is what ends a completion.
    templates = template_files(folder)
    extra = [path for path in [folder / GENERATION_CONFIG] if path.is_file()]
    return Checkpoint(
        folder=folder,
        name=folder.resolve().name,
        config=config,
        model=model,
        codec=load_codec(folder, config, model.vocabulary_size),
        num_parameters=num_parameters,
        stored_dtype=weights.stored_dtype,
        digest=digest(folder / CONFIG, *weights.paths, folder / TOKENIZER, *templates, *extra),
        tokenizer_digest=digest(folder / TOKENIZER, *templates),
        card=read_card(folder / CARD),
    )


def _load_model(
    config: CheckpointConfig, _folder: Path, weights: WeightFiles
) -> tuple[CheckpointModel, int]:
    found = model_class(config.model_type)
    ignored = set()
    try:
        # Shapes are compared on a model without memory: a wrong config may name a huge one.
        with torch.device("meta"):
            expected = found.from_config(config.raw).state_dict()
        if config.raw.get("tie_word_embeddings") is True and _TIED_HEAD not in expected:
            # Some writers save the embeddings under this name once more; transformers ignores it.
            ignored.add(_TIED_HEAD)
        shapes = {name: s for name, s in weights.shapes.items() if name not in ignored}
        check_shapes(shapes_of(expected), shapes)
        model = found.from_config(config.raw)
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    tensors = {name: tensor for name, tensor in weights.tensors() if name not in ignored}
    model.load_state_dict(tensors)
    model.eval()
    return model, sum(tensor.numel() for tensor in tensors.values())


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
