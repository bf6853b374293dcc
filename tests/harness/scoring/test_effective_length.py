import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.effective_length import effective_length

accuracies = st.dictionaries(st.integers(1, 100), st.integers(0, 20).map(lambda k: k / 20))


@pytest.mark.parametrize(
    ("by_size", "size", "is_least"),
    [
        ({8: 1.0, 16: 0.9, 32: 0.85, 64: 0.5}, 32, False),
        ({8: 1.0, 16: 0.95}, 16, True),
        ({8: 1.0, 16: 0.5, 32: 0.9}, 8, False),
        ({32: 0.2, 8: 0.2, 16: 0.18}, 32, True),
        ({8: 0.5, 16: 1.0, 32: 0.42}, 16, False),
    ],
)
def test_it_is_the_last_size_before_the_first_that_drops(
    by_size: dict[int, float], size: int, is_least: bool
) -> None:
    found = effective_length(by_size)
    assert found is not None
    assert (found.size, found.is_least) == (size, is_least)


@pytest.mark.parametrize("by_size", [{}, {8: 1.0}, {8: 0.0, 16: 0.5}])
def test_there_is_none_of_one_size_or_of_nothing_right(by_size: dict[int, float]) -> None:
    assert effective_length(by_size) is None


@given(accuracies)
def test_it_is_what_trying_every_size_finds(by_size: dict[int, float]) -> None:
    found = effective_length(by_size)
    if found is None:
        assert len(by_size) < 2 or by_size[min(by_size)] == 0
        return
    base = by_size[min(by_size)]
    kept = [
        size
        for size in by_size
        if all(20 * by_size[other] >= 17 * base for other in by_size if other <= size)
    ]
    assert found.size == max(kept)
