"""Loads checkpoints that transformers knows, for engines that are not ours.

Weights are safetensors only, nothing is fetched, and no code of a checkpoint runs.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    LlamaTokenizer,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from harness_servers.checkpoints.checkpoint import Checkpoint, load_with, shapes_of
from harness_servers.checkpoints.checkpoint_config import CheckpointConfig, parse_config
from harness_servers.checkpoints.checkpoint_files import TOKENIZER, WEIGHTS, check_shapes, listed
from harness_servers.checkpoints.config_size import check_size, mismatch
from harness_servers.checkpoints.weight_files import WeightFiles, require_finite
from harness_servers.errors import CheckpointError
from harness_servers.models.transformers_model import TransformersModel

_log = logging.getLogger(__name__)

LLAMA: Final = "llama"
_FLOAT32_BYTES: Final = 4
# Layers are made before their weights are looked for.
_MAX_LAYERS: Final = 1024
_MAX_SHOWN: Final = 300
_PIECES: Final = "tokenizer.model"
_PROBES: Final = ("the answer is 7", "Is it so?")
LOCAL: Final = {"local_files_only": True, "trust_remote_code": False}


@dataclass(frozen=True, kw_only=True, slots=True)
class LlamaShape:
    """What is known of a Llama without loading it: a ModelShape."""

    family: str = "TRANSFORMER"
    vocabulary_size: int
    context_limit: int
    num_layers: int
    num_key_value_heads: int
    head_size: int

    def state_bytes(self) -> int:
        """Nothing is kept but keys and values."""
        return 0

    def state_bytes_per_token(self) -> int:
        """A key and a value in every layer and head."""
        values = 2 * self.num_layers * self.num_key_value_heads * self.head_size
        return values * _FLOAT32_BYTES


def load_llama_shape(folder: Path) -> Checkpoint[LlamaShape]:
    """A Llama for vLLM to load: checked, but its weights are not read. Raises CheckpointError."""
    parse = partial(parse_config, model_types=(LLAMA,))
    return load_with(folder, _read_llama_shape, parse)


def load_transformers_model(folder: Path, *, device: str = "cpu") -> Checkpoint[TransformersModel]:
    """Any causal language model that transformers knows, in float32, on a device of torch's.

    Raises CheckpointError.
    """
    parse = partial(parse_config, model_types=MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys())
    return load_with(folder, partial(_load_transformers_model, device=device), parse)


def convert_tokenizer(plain: Path) -> None:
    """Adds a tokenizer.json, from the files that there are. Raises CheckpointError."""
    set_verbosity_error()
    try:
        made = AutoTokenizer.from_pretrained(plain, **LOCAL).backend_tokenizer
        if (plain / _PIECES).is_file() and not _splits_like(made, plain / _PIECES):
            # Which class it needs stands in tokenizer_config.json, where there is one.
            made = LlamaTokenizer.from_pretrained(plain, local_files_only=True).backend_tokenizer
            if not _splits_like(made, plain / _PIECES):
                raise ValueError(f"what comes out of it splits a text otherwise than {_PIECES}")
        made.save(str(plain / TOKENIZER))
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"{TOKENIZER} cannot be made: {in_a_line(error)}") from error


def _splits_like(made: Tokenizer, pieces: Path) -> bool:
    """Whether a tokenizer that came of a sentencepiece model does as that; true of other models."""
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415

    theirs = SentencePieceProcessor()
    try:
        theirs.Load(str(pieces))
    except RuntimeError:
        return True  # of tiktoken, which has the same name
    return all(
        made.encode(text, add_special_tokens=False).ids == theirs.EncodeAsIds(text)
        for text in _PROBES
    )


def _read_llama_shape(
    _config: CheckpointConfig, folder: Path, weights: WeightFiles
) -> tuple[LlamaShape, int]:
    config = _read_config(folder)
    # A model without memory: a wrong config may name a huge one.
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    expected, found = shapes_of(model.state_dict()), dict(weights.shapes)
    if config.tie_word_embeddings:
        # Files of tied models have the matrix once, or twice.
        for name in model.all_tied_weights_keys:
            expected.pop(name, None)
            found.pop(name, None)
    check_shapes(expected, found)
    for _ in weights.tensors():
        pass  # each is looked at, and let go
    shape = LlamaShape(
        vocabulary_size=config.vocab_size,
        context_limit=config.max_position_embeddings,
        num_layers=config.num_hidden_layers,
        num_key_value_heads=config.num_key_value_heads,
        head_size=config.head_dim,
    )
    return shape, sum(torch.Size(size).numel() for size in found.values())


def _load_transformers_model(
    _config: CheckpointConfig, folder: Path, weights: WeightFiles, *, device: str
) -> tuple[TransformersModel, int]:
    set_verbosity_error()
    disable_progress_bar()
    config = _read_config(folder)
    try:
        # A wrong config may name a huge model.
        with torch.device("meta"):
            outline = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"transformers cannot host it: {in_a_line(error)}") from error
    check_size(outline, weights)
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **LOCAL,
        )
    except Exception as error:  # the library raises nothing more precise
        why = mismatch(outline, weights) or in_a_line(error)
        raise CheckpointError(f"transformers cannot host it: {why}") from error
    if missing := sorted(loaded["missing_keys"]):
        raise CheckpointError(f"{WEIGHTS}: missing: {listed(missing)}")
    if unknown := sorted(loaded["unexpected_keys"]):
        _log.warning("%s: transformers has no use for %s", WEIGHTS, listed(unknown))
    for name, parameter in model.named_parameters():
        require_finite(name, parameter.detach())
    try:
        hosted = TransformersModel(
            model.eval().to(device), lambda: DynamicCache(config=model.config)
        )
    except Exception as error:  # a forward pass of it failed: with whatever that raises
        raise CheckpointError(f"transformers cannot host it: {in_a_line(error)}") from error
    # A tensor that stands in two places is counted once.
    return hosted, sum(parameter.numel() for parameter in model.parameters())


def _read_config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, **LOCAL)
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"config.json: {in_a_line(error)}") from error
    num_layers = getattr(config.get_text_config(), "num_hidden_layers", 1)
    if not isinstance(num_layers, int) or num_layers > _MAX_LAYERS:
        raise CheckpointError(
            f"config.json: num_hidden_layers is {num_layers!r}; at most {_MAX_LAYERS} are made"
        )
    return config


def in_a_line(error: Exception) -> str:
    """In one line, and not too long a one."""
    words = " ".join((str(error).strip() or repr(error)).split())
    return words if len(words) <= _MAX_SHOWN else f"{words[:_MAX_SHOWN]}..."
