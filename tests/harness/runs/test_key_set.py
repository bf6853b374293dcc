from hypothesis import given
from hypothesis import strategies as st

from harness.runs.key_set import KeySet

INDICES = st.one_of(
    st.integers(0, 10_000).map(str), st.sampled_from(["", "07", "0", "x", "9" * 30, "٣", "-1"])
)
KEYS = st.tuples(
    st.sampled_from(["one", "two"]),
    INDICES.map(lambda index: f"task/test/seed=0/index={index}"),
    st.integers(0, 2),
)


@given(st.lists(KEYS), st.lists(KEYS))
def test_it_is_as_a_set_of_the_same_keys(added: list, asked: list) -> None:
    keys, expected = KeySet(), set()
    for key in added:
        assert keys.add(key) == (key not in expected)
        expected.add(key)
    assert (set(keys), len(keys)) == (expected, len(expected))
    assert all((key in keys) == (key in expected) for key in asked)
    assert keys.num_of_cell("one") == sum(cell == "one" for cell, *_ in expected)
