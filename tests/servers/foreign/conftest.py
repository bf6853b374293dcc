"""Tokenizers of every kind that checkpoints of other people have, small, and made here."""

import json
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, UnigramTrainer

# What the merges are learnt from: so markers come to be split as they are in the wild.
CORPUS = [
    "I look it up: <search> (\\S+) </search> <result> bab dok </result>\nAnswer: dok\n\n",
    "[Problem 1]\nContext: bab dok ; fem gik ;\nQuestion: fem\n\nSearch as often as you need.",
    "the search of the answer is a research, and a result is a <b>bold</b> one.>\n>\n>\n",
    "é 日本語 😀 naïve café",
] * 8
SPACE = "▁"
NUM_WORDS = 400


def trained(tokenizer: Tokenizer, **options) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a small BPE."""
    trainer = BpeTrainer(vocab_size=NUM_WORDS, show_progress=False, **options)
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def with_bos(tokenizer: Tokenizer, bos: str) -> Tokenizer:
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A $B",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )
    return tokenizer


def byte_level() -> Tokenizer:
    """GPT-2, Llama 3, Qwen, SmolLM."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained(tokenizer, initial_alphabet=alphabet, special_tokens=["<|im_start|>", "<|im_end|>"])
    return tokenizer


def byte_fallback(*, has_prefix: bool) -> Tokenizer:
    """Llama 2 and Mistral (with a prefix), Gemma (without): what has no piece is bytes."""
    steps = [normalizers.Replace(" ", SPACE)]
    if has_prefix:
        steps.insert(0, normalizers.Prepend(SPACE))
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Sequence(steps)
    pieces, merges = trained(learner)
    # No piece has a line's end in it, or anything but ASCII: those are bytes.
    plain = [piece for piece in pieces if piece.replace(SPACE, "").isascii() and "\n" not in piece]
    printable = [SPACE, *map(chr, range(33, 127))]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {
        name: i for i, name in enumerate(dict.fromkeys([*names, *printable, *plain, SPACE + "the"]))
    }
    kept = [pair for pair in merges if {*pair, "".join(pair)} <= vocabulary.keys()]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=kept, unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(steps)
    strip = [decoders.Strip(" ", 1, 0)] if has_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names[:3]])
    return with_bos(tokenizer, "<s>")


def unigram() -> Tokenizer:
    """T5 and XLNet."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_pieces() -> Tokenizer:
    """BERT."""
    pieces = ["[UNK]", "[CLS]", "bab", "##bab", "dok", "##dok", ".", "##.", "do", "n't", "'", "s"]
    tokenizer = Tokenizer(models.WordPiece(vocab={p: i for i, p in enumerate(pieces)}))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.add_special_tokens(["[CLS]"])
    return tokenizer


def suffixed() -> Tokenizer:
    """CLIP and the first GPT: a suffix where a word ends."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trained(tokenizer, end_of_word_suffix="</w>", special_tokens=["<unk>"])
    return tokenizer


def bare() -> Tokenizer:
    """Words, and no decoder at all."""
    return Tokenizer(models.WordLevel({"<unk>": 0, "bab": 1, "dok": 2, "fem": 3}, "<unk>"))


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "llama": lambda: byte_fallback(has_prefix=True),
    "gemma": lambda: byte_fallback(has_prefix=False),
    "unigram": unigram,
    "word_pieces": word_pieces,
    "suffixed": suffixed,
    "bare": bare,
}
LANGUAGE = ("byte_level", "llama", "gemma")


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    """By their kind."""
    return {name: make() for name, make in MAKERS.items()}


@pytest.fixture(scope="session", params=MAKERS)
def kind(request) -> str:
    """Each kind in turn."""
    return request.param


@pytest.fixture(scope="session", params=LANGUAGE)
def language_kind(request) -> str:
    """Each of those that can write any text."""
    return request.param
