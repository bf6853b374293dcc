"""Builds tokenizer.json from the vocabulary of the symbolic style, and a config that fits it."""

from typing import Any, Final

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import WhitespaceSplit

from harness.tasks import vocabulary as words

# What transformers, vLLM and flash-linear-attention call models of their layouts. What they do not
# compute as we do has no such name: lstm, gru, taipan and others, and an xlstm, whose head
# transformers does not tie.
ARCHITECTURES: Final = {
    "bamba": "BambaForCausalLM",
    "falcon_mamba": "FalconMambaForCausalLM",
    "gated_deltanet": "GatedDeltaNetForCausalLM",
    "gsa": "GSAForCausalLM",
    "llama": "LlamaForCausalLM",
    "mamba": "MambaForCausalLM",
    "mamba2": "Mamba2ForCausalLM",
    "recurrent_gemma": "RecurrentGemmaForCausalLM",
    "rwkv7": "RWKV7ForCausalLM",
    "samba": "SambaForCausalLM",
}
# A key of our own: a model that has it is not computed as theirs is.
_CACHE_POLICY: Final = "cache_policy"


def build_tokenizer() -> Tokenizer:
    """Words split at white space, each cut into the longest known pieces from the left.

    Decoding joins pieces with one space, and without where a piece starts with `##`, so a text
    of known words survives the round trip unchanged.
    """
    pieces = {piece: index for index, piece in enumerate(words.vocabulary())}
    tokenizer = Tokenizer(
        WordPiece(vocab=pieces, unk_token=words.UNKNOWN, continuing_subword_prefix="##")
    )
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.decoder = WordPieceDecoder(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(
        [AddedToken(word, normalized=False, special=True) for word in words.SPECIALS]
    )
    return tokenizer


def checkpoint_config(model: dict[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json of a checkpoint with this tokenizer: the model's shape and how to talk to it."""
    return {
        **_architectures(model),
        **model,
        "vocab_size": tokenizer.get_vocab_size(),
        "eos_token_id": tokenizer.token_to_id(words.EOS),
        "pad_token_id": tokenizer.token_to_id(words.PAD),
        "tie_word_embeddings": True,
        "dtype": "float32",
        "styles": ["symbolic"],
        "answer_marker": words.ANSWER,
        "search_channel": {
            "start_marker": words.SEARCH_START,
            "end_marker": words.SEARCH_END,
            "failed_text": words.FAILED,
            "passage_separator": words.SEPARATOR,
        },
    }


def _architectures(model: dict[str, Any]) -> dict[str, list[str]]:
    name = ARCHITECTURES.get(model.get("model_type", ""))
    return {} if name is None or _CACHE_POLICY in model else {"architectures": [name]}
