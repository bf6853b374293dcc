"""Writes one of our Llama checkpoints as a GGUF file, for llama.cpp: same weights, same token ids.

Needs the package `gguf`. Our tokenizer splits at spaces; llama.cpp has no such one, but a unigram
tokenizer of the same words, each with the space before it, has one way to read a text: ours.
"""

import json
from pathlib import Path
from typing import Any, Final

import gguf
import numpy as np
from safetensors.numpy import load_file

_CONTINUES: Final = "##"
_SPACE: Final = "\u2581"
_NAMES: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
# Llama's defaults in transformers, which our config leaves out.
_ROPE_BASE: Final = 10_000.0
_NORM_EPS: Final = 1e-6


def write_gguf(checkpoint: Path, file: Path) -> None:
    """Raises OSError, KeyError for a checkpoint that is no Llama with tied embeddings of ours."""
    config = json.loads((checkpoint / "config.json").read_text())
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    _add_shape(writer, config)
    _add_words(writer, config, tokenizer["model"]["vocab"])
    for name, values in load_file(checkpoint / "model.safetensors").items():
        # The halves of a rotated head are neighbours in GGUF.
        is_rotated = name.endswith(("q_proj.weight", "k_proj.weight"))
        written = _interleaved(values, config["head_dim"]) if is_rotated else values
        writer.add_tensor(_tensor_name(name), np.ascontiguousarray(written))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config.get("rope_theta", _ROPE_BASE))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", _NORM_EPS))
    writer.add_vocab_size(config["vocab_size"])


def _add_words(writer: gguf.GGUFWriter, config: dict[str, Any], vocab: dict[str, int]) -> None:
    words = sorted(vocab, key=vocab.__getitem__)
    control = {config["pad_token_id"], config["eos_token_id"], vocab["<bos>"]}
    kinds = [
        gguf.TokenType.CONTROL if id_ in control else gguf.TokenType.NORMAL
        for id_ in range(len(words))
    ]
    kinds[vocab["<unk>"]] = gguf.TokenType.UNKNOWN
    writer.add_tokenizer_model("t5")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([_piece(word, kind) for word, kind in zip(words, kinds, strict=True)])
    # All alike: the fewest pieces win, which are the longest.
    writer.add_token_scores([-1.0] * len(words))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(vocab["<bos>"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_unk_token_id(vocab["<unk>"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)
    writer.add_remove_extra_whitespaces(True)


def _piece(word: str, kind: gguf.TokenType) -> str:
    if kind is not gguf.TokenType.NORMAL:
        return word
    return word.removeprefix(_CONTINUES) if word.startswith(_CONTINUES) else _SPACE + word


def _tensor_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{_NAMES[rest.removesuffix('.weight')]}.weight"


def _interleaved(values: np.ndarray[Any, Any], head_dim: int) -> np.ndarray[Any, Any]:
    """(heads * head_dim, width), each head's rows i and i + head_dim / 2 side by side."""
    heads, width = values.shape[0] // head_dim, values.shape[1]
    split = values.reshape(heads, 2, head_dim // 2, width)
    return split.swapaxes(1, 2).reshape(values.shape)
