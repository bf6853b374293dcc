from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.holm import holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def slow_holm(values: list[float]) -> list[float]:
    """Closed testing: the largest Bonferroni p of all sets of hypotheses that a value is in."""
    places = range(len(values))
    sets = [one for size in range(1, len(values) + 1) for one in combinations(places, size)]
    return [
        max(min(1.0, len(one) * min(values[i] for i in one)) for one in sets if place in one)
        for place in places
    ]


@given(p_values)
def test_an_adjusted_value_is_that_of_closed_testing(values: list[float]) -> None:
    assert holm(values) == pytest.approx(slow_holm(values))


@given(p_values)
def test_no_adjusted_value_is_smaller_and_their_order_stays(values: list[float]) -> None:
    found = holm(values)
    assert all(raw <= adjusted <= 1 for raw, adjusted in zip(values, found, strict=True))
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [found[place] for place in order] == sorted(found)


def test_one_test_is_not_adjusted_and_none_is_none() -> None:
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_it_agrees_with_a_worked_example() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
