"""The files of a checkpoint folder, each read and checked on its own; no model is made here."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from harnessapi.text.chat_template import ChatTemplate
from harnessapi.text.template_files import read_chat_template
from tokenizers import Tokenizer

from harness_servers.checkpoints.checkpoint_config import CheckpointConfig
from harness_servers.checkpoints.codec import Codec
from harness_servers.checkpoints.known_layouts import whose_names
from harness_servers.errors import CheckpointError

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
# Beside the config: what transformers' own `generate` goes by.
GENERATION_CONFIG: Final = "generation_config.json"
_ADAPTER: Final = "adapter_config.json"
_PICKLED_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# A message names so many tensors at most.
_MAX_NAMED: Final = 8


def require_files(folder: Path, names: Sequence[str] = (CONFIG, TOKENIZER)) -> None:
    """Weights, and files of these names, are there. Raises CheckpointError, saying what to do."""
    if not any(folder.glob(f"{WEIGHTS}*")):
        _explain_weights(folder)
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"{name} is missing")


def _explain_weights(folder: Path) -> None:
    """Raises CheckpointError for weights of another kind, with the way to the right one."""
    if (folder / _ADAPTER).is_file():
        adapter = read_json(folder / _ADAPTER)
        base = adapter.get("base_model_name_or_path") if isinstance(adapter, dict) else None
        raise CheckpointError(
            f"it holds an adapter (LoRA) of {base!r} and no model; merge the two first: peft's "
            "AutoPeftModelForCausalLM.from_pretrained(FOLDER).merge_and_unload()"
            ".save_pretrained(NEW_FOLDER)"
        )
    pickled = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLED_SUFFIXES)
    if pickled:
        raise CheckpointError(
            f"it holds pickled weights ({listed(pickled)}), which are never loaded; convert them "
            f"to {WEIGHTS}, where you trust them: transformers' AutoModelForCausalLM"
            ".from_pretrained(FOLDER).save_pretrained(NEW_FOLDER), or safetensors.torch.save_file("
            f"torch.load({pickled[0]!r}, weights_only=True), {WEIGHTS!r})"
        )
    raise CheckpointError(f"{WEIGHTS} is missing")


def read_json(path: Path) -> object:
    """What a JSON file holds. Raises CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error


def read_configs(folder: Path) -> tuple[object, object]:
    """What config.json and, where there is one, generation_config.json hold."""
    generation = folder / GENERATION_CONFIG
    return read_json(folder / CONFIG), read_json(generation) if generation.is_file() else {}


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
    _check_specials(tokenizer)
    for token in config.eos_ids:
        if token >= vocabulary_size:
            raise CheckpointError(f"eos_token_id {token} is outside the vocabulary")
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


def load_codec(folder: Path, config: CheckpointConfig, vocabulary_size: int) -> Codec:
    """The codec of a whole folder. Raises CheckpointError."""
    tokenizer = read_tokenizer(folder / TOKENIZER)
    return make_codec(config, tokenizer, vocabulary_size, read_chat_template(folder))


def check_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Raises CheckpointError where the weights' names or shapes are not the expected ones."""
    missing = sorted(expected.keys() - found.keys())
    unknown = sorted(found.keys() - expected.keys())
    if missing or unknown:
        whose = whose_names(unknown)
        hint = "" if whose is None else f" (these names are {whose})"
        raise CheckpointError(
            f"{WEIGHTS}: missing: {listed(missing)}; unknown: {listed(unknown)}{hint}"
        )
    for name, shape in expected.items():
        if shape != found[name]:
            raise CheckpointError(
                f"{WEIGHTS}: {name} has shape {found[name]}; config.json asks for {shape}"
            )


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    return (", ".join(names[:_MAX_NAMED]) or "none") + more


def digest(*paths: Path) -> str:
    """SHA-256 over the files' own digests, in hexadecimal."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _check_specials(tokenizer: Tokenizer) -> None:
    """What is put around every text are tokens that there are. Raises CheckpointError."""
    for name in _undefined(tokenizer):
        # Met in a text, it would end the process.
        raise CheckpointError(
            f"{TOKENIZER}: its post_processor puts {name!r} around every text, and its "
            "special_tokens do not say what that is"
        )
    around = tokenizer.encode("", add_special_tokens=True)
    for token, name in zip(around.ids, around.tokens, strict=True):
        if tokenizer.id_to_token(token) is None or tokenizer.token_to_id(name) is None:
            raise CheckpointError(
                f"{TOKENIZER}: its post_processor puts {name!r} ({token}) around every text, which "
                "is no token of it"
            )


def _undefined(tokenizer: Tokenizer) -> list[str]:
    """Names in a template for a single text that the template does not define."""
    if tokenizer.post_processor is None:
        return []
    whole = json.loads(tokenizer.post_processor.__getstate__())
    parts = [one for one in whole.get("processors", [whole]) if "single" in one]
    return [
        piece["SpecialToken"]["id"]
        for part in parts
        for piece in part["single"]
        if "SpecialToken" in piece and piece["SpecialToken"]["id"] not in part["special_tokens"]
    ]


def _require_token(tokenizer: Tokenizer, marker: str) -> int:
    """Markers are single tokens: then text after one is never half written when it is acted on."""
    token: int | None = tokenizer.token_to_id(marker)
    if token is None:
        raise CheckpointError(f"config.json: marker {marker!r} is not a token of {TOKENIZER}")
    return token
