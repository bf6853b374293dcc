"""The bound on states is checked against counting them the slow, obvious way."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness_retrieval.regex.regex_automaton import Automaton
from harness_retrieval.regex.regex_cost import bounded_cost
from harness_retrieval.regex.regex_positions import positions
from harness_retrieval.regex.regex_syntax import NotCoveredError, parse
from harness_retrieval.regex.regex_walk import Walker


@pytest.mark.parametrize(
    ("pattern", "max_threads"),
    [("a", 1), ("ab(c+)", 2), (r"^(?:\S+ ){20}(\S+)", 2), ("x*", 1), ("^a*?b", 2)],
)
def test_simple_patterns_follow_few_threads(pattern: str, max_threads: int) -> None:
    cost = bounded_cost(pattern)
    assert cost is not None
    assert cost.max_threads == max_threads


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|b)*a(a|b){12}z",
        r"b?\S{39}z",  # few sets of positions, but they come in many orders
        r"\b[^z]{9,29}\w+$z",  # few sets where the assertion always holds
        "(?:a.*?b)c",
        "(?i)ab",
        r"\pL",
        "(|a)b",
        "a{1000}" * 3,
    ],
)
def test_no_bound_is_known_for_patterns_that_explode_or_are_not_covered(pattern: str) -> None:
    assert bounded_cost(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    ["(", "a)", "[[:alpha:]]", "(?s).", r"\x41", r"\Qa", "[a", "a{2}?", "a+?", "a??", "\\"],
)
def test_what_the_reader_leaves_out_is_noticed(pattern: str) -> None:
    with pytest.raises(NotCoveredError):
        parse(pattern)


def test_braces_and_brackets_are_read_as_re2_reads_them() -> None:
    assert parse("a{,3}") == parse(r"a\{,3\}")
    assert parse("a{x}") == parse(r"a\{x\}")
    assert parse("[]a-c^]") == parse(r"[\]a-c\^]")
    assert parse("(?P<name>a)") == parse("(?:a)") == parse("(a)")


def count_states_slowly(pattern: str, alphabet: str) -> int:
    """Sets of positions, by following each position on its own."""
    automaton = Automaton(max_positions=100, max_edges=10_000)
    whole = automaton.build(parse(pattern))
    accepts = {
        bit: {c for c in alphabet if any(low <= ord(c) <= high for low, high in ranges)}
        for ranges, bits in automaton.positions_of.items()
        for bit in positions(bits)
    }
    follow: dict[int, set[int]] = {}
    for by_distance in automaton.edges.values():
        for distance, into in by_distance.items():
            for target in positions(into):
                follow.setdefault(target - distance, set()).add(target)
    first = {bit for bits in whole.first.values() for bit in positions(bits)}
    seen: set[frozenset[int]] = set()
    waiting = [frozenset[int]()]
    while waiting:
        state = waiting.pop()
        following = first.union(*(follow.get(position, set()) for position in state))
        for character in alphabet:
            after = frozenset(place for place in following if character in accepts[place])
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return len(seen)


PARTS = st.sampled_from(
    [
        *("a", "b", ".", "[ab]", "a*", "b+", "a?", "(?:ab)*", "a*?", "a{2,4}", "(?:a|bb)+"),
        *("(?:ab?){3}", "(?:a*b){3,}", "(?:(?:a|b.){2}b){2}", "(?:a?b?){3}"),
    ]
)


@settings(deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=3).map("".join))
def test_as_many_states_are_visited_as_there_are(pattern: str) -> None:
    automaton = Automaton(max_positions=100, max_edges=10_000)
    whole = automaton.build(parse(pattern))
    walker = Walker(
        edges=automaton.edges,
        letters=automaton.letters(),
        first=whole.first,
        num_positions=automaton.num_positions,
        restarts=True,
    )
    assert walker.walk_sets().num_sets == count_states_slowly(pattern, "abc\n")
