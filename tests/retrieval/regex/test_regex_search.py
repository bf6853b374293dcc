import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_retrieval.regex.regex_search import search_regex
from harness_retrieval.types import Outcome, SearchResult

MAX_MS = 50
HOSTILE = [
    "",
    "(",
    "[",
    "a**",
    "a{1001}",
    "(?P<n>a",
    r"\1",
    "(?=a)b",
    "x" * 100_000,
    "(" * 500 + ")" * 500,
    "|" * 1000,
    "a?" * 500,
    "[a-z]" * 200 + "!",
    "(a*)*b",
    "(x+x+)+y",
    "(a|a)*b",
    "(.*)*z!",
    r"(a|b)*a(a|b){12}z",
    r"(?:a|b)*a(?:a|b){200}z",
    r"(?:a?){100}a{100}z",
    "((a{0,30}){0,30})z",
    r"(\w+ )*\w+z",
    "[ab]{0,500}z",
    "a.{500}z",
    r"\pL{50}z",
    r"(?:\S+ ){500}z",
    "(.*)a(.{300})z",
    "(a.{20}|b.{30}|d.{40}|g.{25})z",
    "(?i)(?:bab|dad|[^x]{3}){80}q",
    r"(?:.a.|.b.|a.b|..){90}(z)",
    r"\b[^z]{9,29}(?:\w+?)$z",
    r"\b[^z]{9,29}\w+$z",
    r"b?\S{39}a?z",
    r"(?:b?[ab]{5,14}[ab]{1,9})+z",
    "(.)" * 60 + "z",
    "(((((.*)a)*b)*a)*b)*z",
    "[^\x00-\x7f]{200}z",
    r"(?:.* bab\b){1000}",
    r"(?:.* bab\b){300}",
]
LEGITIMATE = [
    r"bab (\S+)",
    r"^(?:\S+ ){64}(\S+)",
    r"^(?:\S+ ){900}(\S+)",
    r"(?:.* bab\b){60}",
    r"(?:^|; )bab (\S+)",
    r"(?:bab ~ (\w+)|bab - (\w+)|(\w+) - bab)",
]


def long_text(kind: str, num_characters: int) -> str:
    rng = random.Random(kind)
    words = {
        "words": ["bab ", "dad ", "gog ", "mim ", "sas ", "tat "],
        "ab": ["a", "b"],
        "a": ["a" * 1000],
        "unicode": [chr(rng.randrange(0x400, 0x9000)) for _ in range(500)],
    }[kind]
    drawn = "".join(rng.choices(words, k=100_000))
    return (drawn * (num_characters // len(drawn) + 1))[:num_characters]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    kinds = ("words", "ab", "a", "unicode")
    return {
        f"{kind} {size}": long_text(kind, size) for kind in kinds for size in (200_000, 1_000_000)
    }


def cpu_ms(text: str, pattern: str) -> tuple[SearchResult, float]:
    started_s = time.thread_time()  # what others do on this machine is not counted
    result = search_regex(text, pattern)
    return result, (time.thread_time() - started_s) * 1e3


@pytest.mark.parametrize("pattern", HOSTILE, ids=lambda pattern: pattern[:30] or "empty")
def test_a_hostile_pattern_is_an_outcome_within_50_ms(texts: dict[str, str], pattern: str) -> None:
    for name, text in texts.items():
        result, took_ms = cpu_ms(text, pattern)
        assert took_ms <= MAX_MS, (name, result.outcome, took_ms)
        again = search_regex(text, pattern)
        assert (again.outcome, again.start, again.end) == (result.outcome, result.start, result.end)


@pytest.mark.parametrize("pattern", LEGITIMATE)
def test_the_patterns_of_the_paper_work_in_long_contexts(
    texts: dict[str, str], pattern: str
) -> None:
    for name, text in texts.items():
        result, took_ms = cpu_ms(text, pattern)
        assert result.outcome in (Outcome.FOUND, Outcome.NOT_FOUND), (name, result.detail)
        assert took_ms <= MAX_MS, (name, took_ms)
    assert search_regex(texts["words 1000000"] + "; bab ~ dad", pattern).outcome is Outcome.FOUND


@pytest.mark.parametrize(
    ("pattern", "outcome"),
    [
        ("", Outcome.INVALID_QUERY),
        ("(", Outcome.INVALID_QUERY),
        ("x" * 2000, Outcome.INVALID_QUERY),
        ("\ud800(", Outcome.INVALID_QUERY),
        (r"(?:a|b)*a(?:a|b){200}z", Outcome.TOO_COSTLY),
        ("(.*)a(.{300})z", Outcome.TOO_COSTLY),
    ],
)
def test_a_refused_pattern_says_why(pattern: str, outcome: Outcome) -> None:
    result = search_regex("ab" * 100_000, pattern)
    assert result.outcome is outcome
    assert result.detail
    assert result.text == ""


def test_a_costly_pattern_may_be_searched_in_a_short_text() -> None:
    assert search_regex("ab" * 200 + "z", r"(?:a|b)*a(?:a|b){201}z").outcome is Outcome.FOUND


def test_the_group_that_took_part_is_the_result() -> None:
    assert search_regex("x c 2", r"a (\d)|b (\d)|c (\d)").text == "2"
    assert search_regex("x c 2", r"c \d").text == "c 2"
    assert search_regex("x c 2", r"(a)?c (\d)").text == "2"
    empty = search_regex("x c 2", r"c( *)2|c")
    assert (empty.text, empty.start, empty.end) == (" ", 3, 4)
    assert search_regex("c", "c(x*)").outcome is Outcome.FOUND


def test_positions_are_characters() -> None:
    text = "né 日本 " * 3 + "bab é𝄞 z"
    for filler in ("", "日" * 200_000):
        result = search_regex(filler + text, r"bab (\S+)")
        start = len(filler) + text.index("é𝄞")
        assert (result.text, result.start, result.end) == ("é𝄞", start, start + 2)


WORDS = st.sampled_from(["bab", "dad", "né", "x", ";", "bab1", "-", "~"])
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)
PATTERNS = st.one_of(
    st.builds(r"^(?:\S+ ){{{}}}(\S+)".format, st.integers(0, 12)),
    st.builds(r"{} (\S+)".format, WORDS),
    st.builds(r"{} {} (\S+)".format, WORDS, WORDS),
    st.builds(r"(?:.* {}\b){{{}}}".format, WORDS, st.integers(1, 6)),
    st.builds(r"(?:^|; )(?:{0} - (\w+)|(\w+) - {0}\b)".format, WORDS),
    st.builds(r"{} ~ (\w+)$".format, WORDS),
)


@settings(deadline=None)
@given(text=TEXTS, pattern=PATTERNS, is_long=st.booleans())
def test_the_patterns_of_the_paper_find_what_the_obvious_reference_finds(
    text: str, pattern: str, is_long: bool
) -> None:
    text += "\n" * 400_000 if is_long else ""
    # RE2 knows ASCII classes, and `$` as the very end.
    match = re.search(pattern.replace("$", r"\Z"), text, re.ASCII)
    result = search_regex(text, pattern)
    assert result.outcome is (Outcome.FOUND if match else Outcome.NOT_FOUND)
    if match:
        groups = [index for index, group in enumerate(match.groups(), 1) if group is not None]
        assert (result.start, result.end) == match.span(groups[0] if groups else 0)
        assert result.text == text[result.start : result.end]
