from harnessapi.text.stops import StopFinder
from hypothesis import given
from hypothesis import strategies as st

STOPS = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=16)


def first_stop(text: str, stops: list[str]) -> int | None:
    """Where the stop string begins that ends first, the longest of those that end together."""
    for end in range(len(text) + 1):
        begins = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if begins:
            return min(begins)
    return None


@given(stops=STOPS, pieces=st.lists(st.text("abc", max_size=6), max_size=8))
def test_the_first_stop_string_is_found_however_the_text_is_split(
    stops: list[str], pieces: list[str]
) -> None:
    finder, read = StopFinder(stops), ""
    for piece in pieces:
        text, is_stopped = finder.read(piece)
        read += text
        if is_stopped:
            break
    else:
        is_stopped = False
        read += finder.release()
    expected = first_stop("".join(pieces), stops)
    assert is_stopped == (expected is not None)
    assert read == "".join(pieces)[:expected]


@given(stops=STOPS, text=st.text("abc", max_size=20))
def test_only_what_may_become_a_stop_string_is_held_back(stops: list[str], text: str) -> None:
    finder = StopFinder(stops)
    read, is_stopped = finder.read(text)
    held = text[len(read) :]
    if not is_stopped and held:
        assert any(stop.startswith(held) for stop in stops)
