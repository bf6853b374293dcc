"""A random Mamba2 of the published 130M sizes (state-spaces/mamba2-130m), 516 MB in float32."""

import json
from pathlib import Path
from typing import Any, Final

import torch

from harness_servers.checkpoints.checkpoint_files import CONFIG, TOKENIZER

_SHAPE: Final[dict[str, Any]] = {
    "hidden_size": 768,
    "num_hidden_layers": 24,
    "expand": 2,
    "num_heads": 24,
    "head_dim": 64,
    "state_size": 128,
    "n_groups": 1,
    "conv_kernel": 4,
    "chunk_size": 256,
    "vocab_size": 50_288,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def write_random_130m(folder: Path, tokenizer: Path) -> None:
    """As transformers itself saves it, always with the same weights; nothing where it is there.

    `tokenizer`: a word-level tokenizer.json; words without a meaning make it as long as the model's
    vocabulary.
    """
    if (folder / CONFIG).exists():
        return
    import transformers  # noqa: PLC0415  # takes seconds to import

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.Mamba2Config(**_SHAPE)
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    raw = json.loads(tokenizer.read_text())
    words = raw["model"]["vocab"]
    words.update({f"word-{number}": number for number in range(len(words), _SHAPE["vocab_size"])})
    (folder / TOKENIZER).write_text(json.dumps(raw))
