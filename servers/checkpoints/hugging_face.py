"""Loads checkpoints that transformers knows, for engines that are not ours.

Weights are safetensors only, nothing is fetched, and no code of a checkpoint runs.
"""

import logging
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

from harness_servers.checkpoints.checkpoint import Checkpoint, load_with
from harness_servers.checkpoints.checkpoint_config import CheckpointConfig, parse_config
from harness_servers.checkpoints.checkpoint_files import TOKENIZER, WEIGHTS, listed
from harness_servers.checkpoints.config_size import check_size, mismatch
from harness_servers.checkpoints.weight_files import WeightFiles, require_finite
from harness_servers.errors import CheckpointError
from harness_servers.models.outline import Outline, outline
from harness_servers.models.transformers_model import TransformersModel

_log = logging.getLogger(__name__)

# Layers are made before their weights are looked for.
_MAX_LAYERS: Final = 1024
_MAX_SHOWN: Final = 300
_NAMED_AS_STORED: Final = ("llama", "mamba2")
_PIECES: Final = "tokenizer.model"
_PROBES: Final = ("the answer is 7", "Is it so?")
LOCAL: Final = {"local_files_only": True, "trust_remote_code": False}


def load_outline(folder: Path) -> Checkpoint[Outline]:
    """A causal language model for another engine to load: looked at, and its weights let go.

    Raises CheckpointError.
    """
    parse = partial(parse_config, model_types=MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys())
    return load_with(folder, _outline, parse)


def architecture(model_type: str) -> str:
    """The class that transformers has for such a language model; engines have their own by it."""
    name: str = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    return name


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


def _outline(_config: CheckpointConfig, folder: Path, weights: WeightFiles) -> tuple[Outline, int]:
    set_verbosity_error()
    config = _read_config(folder)
    # Of experts, transformers' own choice looks at the tokens: without memory there are none.
    model = _without_memory(config, experts_implementation="batched_mm")
    check_size(model, weights)
    _check_names(model, weights)
    for _ in weights.tensors():
        pass  # each is looked at, and let go
    try:
        shape = outline(model)
    except Exception as error:  # a forward pass of it failed: with whatever that raises
        raise CheckpointError(
            f"{config.model_type}: what it keeps of a text cannot be told: {in_a_line(error)}"
        ) from error
    return shape, sum(parameter.numel() for parameter in model.parameters())


def _check_names(model: Any, weights: WeightFiles) -> None:
    """Raises CheckpointError where weights are missing or of another shape."""
    if differs := mismatch(model, weights):
        raise CheckpointError(f"{WEIGHTS}: {differs}")
    wanted, found = model.state_dict().keys(), weights.shapes.keys()
    # Files of tied models have the matrix once, or twice.
    missing = sorted(wanted - found - set(model.all_tied_weights_keys))
    unknown = sorted(found - wanted)
    # Files of some types have names of their own, which are converted when they are loaded.
    if missing and (not unknown or model.config.model_type in _NAMED_AS_STORED):
        raise CheckpointError(f"{WEIGHTS}: missing: {listed(missing)}; unknown: {listed(unknown)}")


def _load_transformers_model(
    _config: CheckpointConfig, folder: Path, weights: WeightFiles, *, device: str
) -> tuple[TransformersModel, int]:
    set_verbosity_error()
    disable_progress_bar()
    config = _read_config(folder)
    empty = _without_memory(config)
    check_size(empty, weights)
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
        why = mismatch(empty, weights) or in_a_line(error)
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


def _without_memory(config: Any, **options: Any) -> Any:
    """The model of a config, which may be a wrong one and name a huge model."""
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, **options).eval()
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"transformers cannot host it: {in_a_line(error)}") from error


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
