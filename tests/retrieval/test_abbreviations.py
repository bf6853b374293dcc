import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness_retrieval.abbreviations import Abbreviation, expand
from harness_retrieval.regex.regex_search import search_regex

FATHER = Abbreviation(query="$1 ~", pattern=r"\b$1 ~ (\d+)")
NEXT = Abbreviation(query="$1 - $2", pattern=r"$1 - $2|$2 - $1$")
TWICE = Abbreviation(query="$2 = $2", pattern="($2)")


def test_a_query_that_fits_stands_for_its_pattern_with_the_slots_filled() -> None:
    assert expand([FATHER, NEXT], "12 ~") == r"\b12 ~ (\d+)"
    assert expand([FATHER, NEXT], "  7   -  3 ") == "7 - 3|3 - 7$"


@pytest.mark.parametrize("query", ["", "12", "~ 12", "12 ~ 3", "12 = 13", r"fem (\S+)"])
def test_any_other_query_stands_for_itself(query: str) -> None:
    assert expand([FATHER, NEXT, TWICE], query) == ""


def test_a_slot_that_stands_twice_binds_one_word() -> None:
    assert expand([TWICE], "a = a") == "(a)"


def test_the_first_that_fits_counts() -> None:
    other = Abbreviation(query="$1 $2", pattern="no")
    assert expand([FATHER, other], "1 ~") == expand([FATHER], "1 ~")
    assert expand([other, FATHER], "1 ~") == "no"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_bound_word_is_found_as_it_is_whatever_it_holds(word: str) -> None:
    if len(word.split()) != 1:
        return
    [word] = word.split()
    pattern = expand([Abbreviation(query="$1 ~", pattern="$1 ~ (x)")], f"{word} ~")
    assert search_regex(f"a {word} ~ x", pattern).text == "x"


@pytest.mark.parametrize(
    ("query", "pattern", "named"),
    [
        ("$1 ~", "$1 $2", r"'\$1 ~' has no slot \$2"),
        ("a$1", "$1", r"no slot \$1"),
        (" ", "a", "query of an abbreviation is empty"),
        ("a", "", "pattern of an abbreviation is empty"),
        ("a", "a" * 1025, "1025 characters, over 1024"),
    ],
)
def test_an_abbreviation_that_cannot_work_is_refused(query: str, pattern: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Abbreviation(query=query, pattern=pattern)


def test_a_dollar_that_is_no_slot_is_the_end_of_the_text() -> None:
    assert re.search(expand([NEXT], "1 - 2"), "a 2 - 1")
    assert expand([Abbreviation(query="$1 end", pattern="$1$")], "a end") == "a$"
