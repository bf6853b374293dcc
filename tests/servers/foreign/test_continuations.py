"""What the text of a continuation is tokenized to: as in place, whatever the tokenizer."""

import pytest

from harness_servers.checkpoints.codec import Codec

PROMPTS = (
    "bab dok",
    "Context: bab dok ; fem",
    "Question: fem\n\nAnswer:",
    "naïve café 日本語",
    "a",
)
CONTINUATIONS = (" fem", " the answer", "\nbab", " naïve 😀", ".", "fem", "  two", " <search> x")
BOS = {"llama": ["<s>"], "gemma": ["<s>"], "byte_level": []}


@pytest.fixture
def codec_of(tokenizers):
    def make(kind: str) -> Codec:
        return Codec(tokenizers[kind], eos_ids=frozenset(), answer_id=None, markers=None)

    return make


@pytest.mark.parametrize("text", CONTINUATIONS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompt_and_continuation_are_the_text_of_both(
    codec_of, language_kind: str, prompt: str, text: str
) -> None:
    codec = codec_of(language_kind)
    before = codec.encode_prompt(prompt).ids
    after = codec.encode_continuation(text).ids
    assert after
    assert codec.decode([*before, *after]) == codec.decode(before) + text
    names = [codec.token_name(token) for token in after]
    assert "<s>" not in names


@pytest.mark.parametrize("text", CONTINUATIONS[:3])
@pytest.mark.parametrize("prompt", PROMPTS[:2])
def test_it_is_what_stands_behind_the_prompt_in_the_whole(
    codec_of, language_kind: str, prompt: str, text: str
) -> None:
    codec = codec_of(language_kind)
    before = codec.encode_prompt(prompt).ids
    whole = codec.encode_prompt(prompt + text).ids
    assert whole == before + codec.encode_continuation(text).ids


def test_a_prefix_space_is_not_put_before_what_goes_on(codec_of) -> None:
    codec = codec_of("llama")
    alone = [codec.token_name(token) for token in codec.encode("the").ids]
    in_place = [codec.token_name(token) for token in codec.encode_continuation("the").ids]
    spaced = [codec.token_name(token) for token in codec.encode_continuation(" the").ids]
    assert alone[0].startswith("▁t")
    assert in_place[0].startswith("t")
    assert spaced == alone


def test_words_that_their_tokenizer_joins_are_words(codec_of) -> None:
    codec = codec_of("bare")
    assert codec.encode_continuation("dok").ids == codec.encode("dok").ids


def test_nothing_is_merged_over_the_border(codec_of, language_kind: str) -> None:
    codec = codec_of(language_kind)
    before = codec.encode_prompt("I look it up: sea").ids
    after = codec.encode_continuation("rch").ids
    assert codec.decode([*before, *after]).endswith("up: search")
    assert codec.token_name(10**7) == ""


@pytest.mark.parametrize("kind", BOS)
def test_without_a_prompt_a_text_has_what_a_prompt_has(codec_of, kind: str) -> None:
    names = [codec_of(kind).token_name(t) for t in codec_of(kind).encode_prompt("fem").ids]
    assert names[: len(BOS[kind])] == BOS[kind]
