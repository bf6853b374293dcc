"""Turns a GGUF file into config, weights and tokenizer, which read a text as llama.cpp does.

The library converts; what it leaves out of the file's metadata is taken from there: what is put
around a text and before it, and every token that ends one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from harness_servers.checkpoints.checkpoint_files import GENERATION_CONFIG
from harness_servers.checkpoints.hugging_face import LOCAL, in_a_line
from harness_servers.errors import CheckpointError

_KEYS: Final = "tokenizer.ggml."
# Of sentencepiece, which llama.cpp begins with a BOS where the file does not say.
_PIECES: Final = "llama"
_ENDS: Final = ("eos_token_id", "eot_token_id", "eom_token_id")


def convert_gguf(plain: Path, name: str) -> None:
    """Puts config, float32 weights and tokenizer in the place of a GGUF. Raises CheckpointError."""
    set_verbosity_error()
    disable_progress_bar()
    try:
        metadata = _tokenizer_metadata(plain / name)
        model = AutoModelForCausalLM.from_pretrained(
            plain, gguf_file=name, dtype=torch.float32, **LOCAL
        )
        tokenizer = AutoTokenizer.from_pretrained(
            plain, gguf_file=name, **_put_around(metadata), **LOCAL
        )
        if metadata.get("add_space_prefix") is False:
            _leave_out_first_space(tokenizer.backend_tokenizer)
        # They are numbers like any others now; the library would not save what was quantized.
        model.hf_quantizer = None
        model.config.quantization_config = None
        (plain / name).unlink()
        model.save_pretrained(plain)
        tokenizer.save_pretrained(plain)
        _write_ends(plain / GENERATION_CONFIG, metadata)
    except Exception as error:  # the library raises nothing more precise
        raise CheckpointError(f"{name} cannot be converted: {in_a_line(error)}") from error


def _tokenizer_metadata(file: Path) -> dict[str, Any]:
    """What the file says of its tokenizer but for the lists of words, the prefix left out."""
    return {
        key.removeprefix(_KEYS): field.contents()
        for key, field in GGUFReader(file).fields.items()
        if key.startswith(_KEYS) and len(field.types) == 1
    }


def _put_around(metadata: Mapping[str, Any]) -> dict[str, bool]:
    """Whether a text begins with the BOS and ends with the EOS, as far as that is known."""
    stated = {key: metadata[key] for key in ("add_bos_token", "add_eos_token") if key in metadata}
    return {"add_bos_token": True, **stated} if metadata.get("model") == _PIECES else stated


def _leave_out_first_space(tokenizer: Tokenizer) -> None:
    """A text is read, and shown, as it begins. Nothing to do where no space is put before it."""
    if isinstance(tokenizer.pre_tokenizer, pre_tokenizers.Metaspace):
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )


def _write_ends(file: Path, metadata: Mapping[str, Any]) -> None:
    """Every token that ends a completion: a chat's turn ends otherwise than a text."""
    ends = sorted({metadata[key] for key in _ENDS if key in metadata})
    if ends:
        generation = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps({**generation, "eos_token_id": ends}))
