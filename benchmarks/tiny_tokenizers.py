"""Tokenizers of the two kinds that other people's models come with, of some hundred tokens."""

from typing import Final

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

_WORDS: Final = ("the", "of", "bab", "dok", "fem", "gik", "answer", "é", "旗", "🙂")


def byte_fallback() -> Tokenizer:
    """As Llama's: a word, or the bytes of what is none, most of which are no text by themselves."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    words = [f"▁{word}" for word in _WORDS]
    names = dict.fromkeys(["<pad>", "<s>", "</s>", "<unk>", *bytes_, *letters, *words])
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    return tokenizer


def byte_level() -> Tokenizer:
    """As GPT-2's: pairs of bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", "<s>", "</s>", *alphabet, "Ġt", "he", "Ġthe"]
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]
    tokenizer = Tokenizer(
        models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>"])
    return tokenizer
