import os
import re
import subprocess
import sys

import pytest
from harnessapi.values import Outcome
from hypothesis import given
from hypothesis import strategies as st

from harness_retrieval.regex.regex_search import MAX_WORK, search_regex, work_per_byte

MALFORMED = ["(", "[", "a**", "a{1001}", "(?P<n>a", r"\1", "(?=a)b"]
HOSTILE = [
    "(a*)*b",
    r"(?:a|b)*a(?:a|b){200}z",
    "((a{0,30}){0,30})z",
    r"(?:[ab]*)a(?:[ab]{1,30}){25}z",
    "(.*)a(.{300})z",
    r"a.{0,900}b.{0,80}Q",
    r"\pL{50}z",
    r"(?:[^;][ab])*\b(.+).{11}Q",
    "(.)" * 60 + "z",
    r"(?:.* bab\b){300}",
]
OF_THE_PAPER = [
    r"bab (\S+)",
    r"^(?:\S+ ){64}(\S+)",
    r"(?:.* bab\b){60}",
    r"(?:^|; )bab (\S+)",
    r"(?:bab ~ (\w+)|bab - (\w+)|(\w+) - bab)",
]


def edge(pattern: str) -> int:
    """Bytes of the longest text in which a pattern is searched."""
    return MAX_WORK // work_per_byte(pattern)


@pytest.mark.parametrize("pattern", [*HOSTILE, *OF_THE_PAPER])
def test_a_pattern_is_searched_up_to_the_limit_and_too_costly_above_it(pattern: str) -> None:
    # A text of one letter costs every pattern little, and the limit does not ask what it holds.
    size = edge(pattern)
    assert search_regex(";" * size, pattern).outcome in (Outcome.FOUND, Outcome.NOT_FOUND)
    above = search_regex(";" * (size + 1), pattern)
    assert above.outcome is Outcome.TOO_COSTLY
    assert above.text == ""
    program, num_bytes, base, num_groups, work, limit = map(int, re.findall(r"\d+", above.detail))
    assert program * num_bytes * (base + num_groups) == work > limit == MAX_WORK
    assert num_bytes == size + 1


def test_bytes_are_counted_not_characters() -> None:
    pattern = r"^(?:\S+ ){64}(\S+)"
    size = edge(pattern)
    assert search_regex("é" * (size // 2), pattern).outcome is Outcome.NOT_FOUND
    assert search_regex("é" * (size // 2 + 1), pattern).outcome is Outcome.TOO_COSTLY


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_hostile_search_has_the_same_result_every_time(pattern: str) -> None:
    text = ("ab;" * edge(pattern))[: min(100_000, edge(pattern))]
    first, second = search_regex(text, pattern), search_regex(text, pattern)
    assert first.outcome in (Outcome.FOUND, Outcome.NOT_FOUND)
    assert (first.outcome, first.start, first.end) == (second.outcome, second.start, second.end)


@pytest.mark.parametrize("pattern", OF_THE_PAPER)
def test_the_patterns_of_the_paper_work_in_contexts_of_50_000_characters(pattern: str) -> None:
    text = "bab dad ; gog mim ; " * 2_500
    assert search_regex(text + "; bab ~ dad", pattern).outcome is Outcome.FOUND


def test_a_key_is_looked_up_in_a_context_of_three_million_characters() -> None:
    text = "dad gog ; " * 300_000 + "bab mim"
    assert search_regex(text, r"bab (\S+)").text == "mim"


@pytest.mark.parametrize("pattern", MALFORMED, ids=lambda pattern: pattern[:30])
def test_what_re2_refuses_is_invalid_and_says_why(pattern: str) -> None:
    result = search_regex("ab" * 100_000, pattern)
    assert result.outcome is Outcome.INVALID_QUERY
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


@pytest.mark.parametrize(("text", "pattern"), [("é", r"\C"), ("aé b", r"a(\C)"), ("éx", r"\Cx")])
def test_a_match_within_a_character_is_refused(text: str, pattern: str) -> None:
    result = search_regex(text, pattern)
    assert result.outcome is Outcome.INVALID_QUERY
    assert "within a character" in result.detail


_MANY_PATTERNS = """
import random
from pathlib import Path
from harness_retrieval.regex.regex_search import search_regex

def resident_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024

text = "".join(random.Random(0).choices("ab", k=30_000))
for number in range(128):
    if number == 32:
        before = resident_mib()
    search_regex(text, f"(?:a|b)*a(?:a|b){{{20 + number % 40}}}(?:{'x' * (number + 1)})z")
print(resident_mib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_patterns_of_the_past_take_no_memory() -> None:
    """Automata of a megabyte and more: of 128 patterns they took 200 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", _MANY_PATTERNS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 60
