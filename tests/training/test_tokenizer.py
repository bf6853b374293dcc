import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sample import Split
from harness.tasks import TASKS, make_task
from harness.tasks import vocabulary as words
from harness.tasks.prompts import render
from harness.tasks.symbolic import write
from harness.way import Prompting, Way
from harness_servers.models import MODELS
from harness_training.tokenizer import ARCHITECTURES, build_tokenizer, checkpoint_config

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


WAYS = [(name, way) for name, task in TASKS.items() for way in task.ways()]


@pytest.mark.parametrize(("name", "way"), WAYS)
@pytest.mark.parametrize("size", [4, 16, 128])
def test_a_worked_completion_has_only_known_words_and_keeps_to_its_bound(name, way, size):
    task = make_task(name, size=size)
    unknown = TOKENIZER.token_to_id(words.UNKNOWN)
    bound = task.max_completion_tokens(way)
    longest = 0
    for index in range(300 if size < 128 else 30):
        sample = task.sample(Split.TEST, 0, index)
        segments = write(sample.steps(way))
        pieces = [TOKENIZER.encode(segment.text).ids for segment in segments]
        prompt = TOKENIZER.encode(render(task, sample, way)).ids
        assert unknown not in {token for piece in [prompt, *pieces] for token in piece}
        generated = [p for p, s in zip(pieces, segments, strict=True) if not s.inserted]
        longest = max(longest, sum(len(piece) for piece in generated))
    assert longest <= bound
    # Counting seldom counts far; no other bound is far from what is reached.
    assert longest > 0.6 * bound or (name, way.prompting) == ("counting", Prompting.COT)


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_has_a_token_for_every_word(name):
    task = make_task(name, size=16)
    prompt = render(task, task.sample(Split.TEST, 0, 0), Way())
    assert len(TOKENIZER.encode(prompt).ids) == len(prompt.split())


def test_a_config_names_the_class_of_those_who_compute_the_same():
    assert ARCHITECTURES.keys() < MODELS.keys()
    for model_type in MODELS:
        named = checkpoint_config({"model_type": model_type}, TOKENIZER).get("architectures")
        known = ARCHITECTURES.get(model_type)
        assert named == (None if known is None else [known])
    own = {"model_type": "llama", "cache_policy": "tova=6"}
    assert "architectures" not in checkpoint_config(own, TOKENIZER)
