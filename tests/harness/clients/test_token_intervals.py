import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.token_intervals import TokenIntervals, quantile

NEAR = 0.05
messages = st.lists(st.tuples(st.integers(1, 20), st.floats(5, 1e4)), max_size=30)


def intervals(*told: tuple[int, float]) -> TokenIntervals:
    found = TokenIntervals()
    for num_tokens, at_ms in told:
        found.add(num_tokens, at_ms)
    return found


def test_the_tokens_of_a_message_share_the_time_since_the_last() -> None:
    found = intervals((1, 100), (4, 140), (1, 240)).histogram()
    assert sum(found.values()) == 5
    assert quantile(found, 0.5) == pytest.approx(10, rel=NEAR)
    assert quantile(found, 0.9) == pytest.approx(100, rel=NEAR)


def test_the_tokens_of_the_first_message_have_no_interval() -> None:
    assert intervals((50, 100), (3, 100.4)).histogram() == {}
    assert quantile({}, 0.5) is None


def test_what_comes_within_five_milliseconds_is_one_message() -> None:
    split = intervals((1, 0), (2, 40), (1, 41), (1, 44.9)).histogram()
    assert split == intervals((1, 0), (4, 40)).histogram()
    # Where every token comes alone and sooner, none is lost but those of the first message.
    fast = intervals(*((1, place / 4) for place in range(101))).histogram()
    assert sum(fast.values()) == pytest.approx(81, abs=1)
    assert quantile(fast, 0.5) == pytest.approx(0.25, rel=NEAR)


def test_a_message_without_tokens_is_none() -> None:
    assert intervals((1, 0), (0, 20), (1, 40)).histogram() == intervals((1, 0), (1, 40)).histogram()


def test_pieces_have_as_many_tokens_as_the_server_counts() -> None:
    found = intervals((1, 0), (1, 40), (1, 80), (1, 120)).histogram(16)
    assert sum(found.values()) == 12
    assert quantile(found, 0.99) == pytest.approx(10, rel=NEAR)


@given(messages)
def test_a_quantile_is_near_the_one_of_every_token(told: list[tuple[int, float]]) -> None:
    at_ms, every = 0.0, []
    found = TokenIntervals()
    found.add(1, at_ms)
    for num_tokens, gap_ms in told:
        at_ms += gap_ms + 1e-6
        found.add(num_tokens, at_ms)
        every += [gap_ms / num_tokens] * num_tokens
    every.sort()
    for share in (0.5, 0.9, 0.99):
        exact = next((v for k, v in enumerate(every, 1) if k >= share * len(every)), None)
        assert quantile(found.histogram(), share) == (
            None if exact is None else pytest.approx(exact, rel=NEAR)
        )


def test_what_is_stored_is_bounded_whatever_comes() -> None:
    found = TokenIntervals()
    for place in range(2000):
        found.add(1 + place % 7, 1.01**place)
    assert len(found.histogram()) < 300
    assert quantile({10**9: 1}, 0.5) == pytest.approx(2**24, rel=NEAR)
