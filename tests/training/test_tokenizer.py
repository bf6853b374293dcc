import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sample import Prompting, Split, Style
from harness.tasks import make_task
from harness.tasks import vocabulary as words
from harness.tasks.prompts import render
from retrieval.types import Mode
from training.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()

PATTERNS = {
    r"fem (\S+)": ["fem", r"(\S+)"],
    r"^(?:[^;]*; ){7}(\S+)": ["^(?:[^;]*;", "){", "##7", r"##}(\S+)"],
    r"^(?:[^;]* bab\b){12}[^;]* (;)": ["^(?:[^;]*", "bab", r"##\b){", "##12", "##}[^;]*", "(;)"],
    r"bab fem gik (\S+)": ["bab", "fem", "gik", r"(\S+)"],
}


def decode(token_ids: list[int]) -> str:
    return TOKENIZER.decode(token_ids, skip_special_tokens=False)


@pytest.mark.parametrize(("pattern", "tokens"), PATTERNS.items())
def test_a_pattern_is_written_in_tokens_and_comes_back_letter_for_letter(pattern, tokens):
    encoding = TOKENIZER.encode(f"<search> {pattern} </search>")
    assert encoding.tokens == ["<search>", *tokens, "</search>"]
    assert decode(encoding.ids) == f"<search> {pattern} </search>"
    re.compile(pattern)


@given(st.lists(st.sampled_from(words.WORDS + words.NUMERALS + words.SPECIALS), min_size=1))
def test_any_text_of_known_words_survives_the_round_trip(text_words):
    text = " ".join(text_words)
    encoding = TOKENIZER.encode(text)
    assert encoding.tokens == text_words
    assert decode(encoding.ids) == text


def test_no_word_begins_or_ends_another_so_a_pattern_finds_that_word_alone():
    every_word = [*words.WORDS, *words.TASK_WORDS, *words.SPECIALS, *words.PUNCTUATION]
    for word in words.WORDS:
        alike = [other for other in every_word if other.startswith(word) or other.endswith(word)]
        assert alike == [word]


@pytest.mark.parametrize("size", [1, 16, 128])
@pytest.mark.parametrize("mode", list(Mode))
def test_every_prompt_and_demonstration_has_only_known_words(size, mode):
    task = make_task("assoc_recall", size=size)
    unknown = TOKENIZER.token_to_id(words.UNKNOWN)
    for prompting in Prompting:
        sample = task.sample(Split.TEST, 0, 0)
        text = render(task, sample, prompting, Style.SYMBOLIC, mode)
        for segment in task.demonstration(sample, prompting, mode):
            text += f" {segment.text}"
        assert unknown not in TOKENIZER.encode(text).ids


def test_a_prompt_has_the_length_that_the_task_states():
    task = make_task("assoc_recall", size=16)
    prompt = render(task, task.sample(Split.TEST, 0, 0), Prompting.DIRECT, Style.SYMBOLIC, None)
    assert len(TOKENIZER.encode(prompt).ids) == 3 * 16 + 4
