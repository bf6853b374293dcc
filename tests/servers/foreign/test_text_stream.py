"""Text of tokens as they come, whatever the tokenizer and whatever the model writes."""

from functools import cache

import pytest
from harnessapi.text.text_stream import TextStream, TokenTexts
from hypothesis import given, settings
from hypothesis import strategies as st

PIECES = st.one_of(
    st.just([1]),
    st.lists(st.integers(1, 9) | st.just(1), min_size=1, max_size=40),
)


def streamed(texts: TokenTexts, ids: list[int], sizes: list[int], prompt: list[int]) -> str:
    stream, pieces, place = TextStream(texts, prompt), [], 0
    while place < len(ids):
        size = sizes[len(pieces) % len(sizes)]
        some = ids[place : place + size]
        pieces.append(stream.read_one(some[0]) if len(some) == 1 else stream.read(some))
        place += size
    return "".join([*pieces, stream.flush()])


@cache
def known(kind: str, tokenizer, *, shows_specials: bool) -> TokenTexts:
    """One for all examples: what it keeps of earlier streams must not show in later ones."""
    return TokenTexts(tokenizer, shows_specials=shows_specials)


def whole(texts: TokenTexts, ids: list[int], prompt: list[int]) -> str:
    before, after = ([*texts.audible(some)] for some in (prompt, [*prompt, *ids]))
    return texts.decode(after)[len(texts.decode(before)) :]


@pytest.mark.parametrize("shows_specials", [True, False])
@settings(max_examples=120, deadline=None)
@given(data=st.data(), sizes=PIECES)
def test_the_pieces_joined_are_the_whole_text(
    tokenizers, kind: str, shows_specials: bool, data, sizes: list[int]
) -> None:
    tokenizer = tokenizers[kind]
    # Ids beyond the vocabulary too: models have more rows than tokenizers have tokens.
    ids = data.draw(st.lists(st.integers(0, tokenizer.get_vocab_size() + 3), max_size=120))
    prompt = data.draw(st.sampled_from(["", "bab dok", "bab"]))
    texts = known(kind, tokenizer, shows_specials=shows_specials)
    prompt_ids = tokenizer.encode(prompt).ids
    assert streamed(texts, ids, sizes, prompt_ids) == whole(texts, ids, prompt_ids)


@settings(max_examples=200, deadline=None)
@given(
    data=st.lists(
        st.sampled_from([0x0A, 0xE6, 0x97, 0xA5, 0xF0, 0x9F, 0x98, 0x80, 0x41, 0xFF, None, 1]),
        max_size=60,
    ),
    sizes=PIECES,
)
def test_bytes_that_are_no_characters_are_replaced_and_the_rest_goes_on(
    tokenizers, language_kind: str, data: list[int | None], sizes: list[int]
) -> None:
    tokenizer = tokenizers[language_kind]
    word = tokenizer.encode(" the", add_special_tokens=False).ids
    ids = [token for byte in data for token in ([byte_id(tokenizer, byte)] if byte else word)]
    texts = TokenTexts(tokenizer, shows_specials=True)
    assert streamed(texts, ids, sizes, []) == tokenizer.decode(ids, skip_special_tokens=False)


def byte_id(tokenizer, byte: int) -> int:
    token = tokenizer.token_to_id(f"<0x{byte:02X}>")
    if token is not None:
        return token
    # Bytes of the byte-level alphabet stand for themselves from 33 to 126, others have a stand-in.
    from transformers.convert_slow_tokenizer import bytes_to_unicode  # noqa: PLC0415

    return tokenizer.token_to_id(bytes_to_unicode()[byte])


def test_the_tokens_that_ended_an_engine_are_a_text(tokenizers) -> None:
    tokenizer = tokenizers["llama"]
    ids = [tokenizer.token_to_id(token) for token in ("<0x0A>", "<0xE6>", "<0x97>", "▁the")]
    stream = TextStream(TokenTexts(tokenizer, shows_specials=True), tokenizer.encode("bab").ids)
    assert [stream.read_one(token) for token in ids] == ["", "", "", "\ufffd\ufffd\ufffd the"]


def test_a_character_comes_with_its_last_byte(tokenizers) -> None:
    texts = TokenTexts(tokenizers["byte_level"], shows_specials=True)
    ids = [byte_id(tokenizers["byte_level"], byte) for byte in "x😀y".encode()]
    stream = TextStream(texts, [])
    assert [stream.read_one(token) for token in ids] == ["x", "", "", "", "😀", "y"]


def test_a_line_of_bytes_without_an_end_is_followed_in_linear_time(tokenizers) -> None:
    tokenizer = tokenizers["llama"]
    texts = TokenTexts(tokenizer, shows_specials=True)
    decoded = 0

    class Counting(TokenTexts):
        def decode(self, ids) -> str:
            nonlocal decoded
            decoded += len(ids)
            return super().decode(ids)

    ids = [tokenizer.token_to_id("<0x97>")] * 2000
    for kind, some in (("llama", ids), ("byte_level", [byte_id(tokenizers["byte_level"], 0x97)])):
        texts = Counting(tokenizers[kind], shows_specials=True)
        decoded = 0
        assert streamed(texts, (some * 2000)[:2000], [1], []) == "\ufffd" * 2000
        assert decoded < 40 * 2000


def test_special_tokens_of_others_are_nobodys_text(tokenizers) -> None:
    tokenizer = tokenizers["byte_level"]
    ids = [tokenizer.token_to_id("<|im_end|>"), *tokenizer.encode("bab").ids]
    assert streamed(TokenTexts(tokenizer, shows_specials=False), ids, [1], []) == "bab"
    assert streamed(TokenTexts(tokenizer, shows_specials=True), ids, [1], []) == "<|im_end|>bab"
    some = TokenTexts(tokenizer, shows_specials=False, shown=["<|im_end|>"])
    assert streamed(some, ids, [1], []) == "<|im_end|>bab"
