from itertools import pairwise

import pytest
from harnessapi.values import Markers, Mode, Outcome
from hypothesis import given
from hypothesis import strategies as st

from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.types import SearchRequest, SearchResult

FOUND = SearchResult(outcome=Outcome.FOUND, text="mim")
PIECES = ["<", "search", ">", "</", " gog", "FAILED", "<search>", "</search>", "/", " ", "é"]


def channel(prompt: str = "bab dad ; ?", **limits: int) -> SearchChannel:
    return SearchChannel(
        context_id="c",
        prompt_text=prompt,
        markers=Markers(),
        mode=Mode.REGEX,
        limits=SearchLimits(**limits),
        top_k=3,
    )


def test_a_query_asks_for_everything_before_its_start_marker() -> None:
    it = channel()
    assert [it.feed(piece) for piece in (" gog", " <search>", r" bab (\S+)")] == [None] * 3
    assert it.in_query
    assert it.feed(" </search>") == SearchRequest(
        context_id="c",
        text="bab dad ; ? gog",
        mode=Mode.REGEX,
        query=r"bab (\S+)",
        passage_separator=";",
        top_k=3,
    )
    assert not it.in_query
    assert it.num_searches == 1
    assert it.query == r"bab (\S+)"


def test_earlier_queries_and_what_was_really_inserted_are_searched_too() -> None:
    it = channel("p")
    it.feed(" <search> a </search>")
    assert it.resolve(FOUND) == "mim"
    it.inserted(" mi")
    it.feed(" then <search> b")
    request = it.feed("</search>")
    assert isinstance(request, SearchRequest)
    assert request.text == "p <search> a </search> mi then"
    assert it.resolve(SearchResult(outcome=Outcome.NOT_FOUND)) == "FAILED"


def test_markers_that_are_inserted_or_in_the_prompt_start_no_query() -> None:
    it = channel("p <search> x")
    assert it.feed(" </search> a") is None
    it.feed("<search>b</search>")
    it.resolve(FOUND)
    it.inserted(" <search> y <sea")
    assert it.feed("rch> </search>") is None
    request = it.feed("<search>c</search>")
    assert isinstance(request, SearchRequest)
    assert request.text == (
        "p <search> x </search> a<search>b</search> <search> y <search> </search>"
    )


def test_a_second_start_marker_begins_the_query_anew() -> None:
    it = channel("p")
    request = it.feed(" <search> a <search> b </search>")
    assert isinstance(request, SearchRequest)
    assert (request.text, request.query) == ("p <search> a", "b")


def test_what_follows_the_end_marker_is_left_unread() -> None:
    it = channel("p")
    assert isinstance(it.feed("<search>a</search> made up"), SearchRequest)
    assert it.unread == " made up"
    it.resolve(FOUND)
    request = it.feed("<search>b</search>")
    assert isinstance(request, SearchRequest)
    assert request.text == "p<search>a</search>"
    assert it.unread == ""


def abbreviating(mode: Mode) -> SearchChannel:
    return SearchChannel(
        context_id="c",
        prompt_text="7 ~ 3",
        markers=Markers(),
        mode=mode,
        limits=SearchLimits(max_searches=2),
        abbreviations=[Abbreviation(query="$1 ~", pattern="$1 ~ (.)")],
    )


def test_an_abbreviation_is_searched_as_its_pattern_and_both_are_known() -> None:
    it = abbreviating(Mode.REGEX)
    request = it.feed(" <search> 7 ~ </search>")
    assert isinstance(request, SearchRequest)
    assert (request.query, it.query, it.expanded_query) == ("7 ~ (.)", "7 ~", "7 ~ (.)")
    it.resolve(FOUND)
    request = it.feed(" <search> 7 </search>")
    assert isinstance(request, SearchRequest)
    assert (request.query, it.query, it.expanded_query) == ("7", "7", "")
    assert request.text.endswith("<search> 7 ~ </search>")
    it.resolve(FOUND)
    assert isinstance(it.feed(" <search> 7 ~ </search>"), SearchResult)
    assert (it.query, it.expanded_query) == ("7 ~", "")


def test_a_dense_query_is_never_an_abbreviation() -> None:
    request = abbreviating(Mode.DENSE).feed(" <search> 7 ~ </search>")
    assert isinstance(request, SearchRequest)
    assert request.query == "7 ~"


@pytest.mark.parametrize(
    ("query", "detail"), [("   ", "is empty"), ("x" * 1025, "1025 characters, over 1024")]
)
def test_an_empty_or_overlong_query_is_decided_without_a_search(query: str, detail: str) -> None:
    it = channel()
    result = it.feed(f"<search>{query}</search>")
    assert isinstance(result, SearchResult)
    assert result.outcome is Outcome.INVALID_QUERY
    assert detail in result.detail
    assert it.num_searches == 0
    assert it.resolve(result) == "FAILED"


def test_past_the_limit_no_search_is_made_and_the_model_writes_on() -> None:
    it = channel(max_searches=1)
    assert isinstance(it.feed("<search>a</search>"), SearchRequest)
    it.resolve(FOUND)
    for _ in range(2):
        result = it.feed("<search>a</search>")
        assert isinstance(result, SearchResult)
        assert result.outcome is Outcome.LIMIT_REACHED
        assert it.query == "a"
        assert it.resolve(result) == "FAILED"
        it.inserted(" FAILED")
    assert it.num_searches == 1


def test_calls_out_of_turn_are_errors() -> None:
    it = channel()
    with pytest.raises(RuntimeError, match="'c'"):
        it.resolve(FOUND)
    it.feed("<search>a")
    with pytest.raises(RuntimeError):
        it.inserted("x")
    it.feed("</search>")
    with pytest.raises(RuntimeError):
        it.feed("x")


@pytest.mark.parametrize(("start", "end"), [("", "b"), ("a", ""), ("a", "a"), ("ab", "b")])
def test_markers_that_could_be_confused_are_refused(start: str, end: str) -> None:
    with pytest.raises(ValueError, match="markers"):
        Markers(start=start, end=end)


def drive(pieces: list[str], start: str, end: str) -> list[object]:
    """Feeds pieces, unread text again, and answers each query; returns all that was asked."""
    it = SearchChannel(
        context_id="c",
        prompt_text="p",
        markers=Markers(start=start, end=end),
        mode=Mode.REGEX,
        limits=SearchLimits(max_searches=3),
    )
    asked: list[object] = []
    for piece in pieces:
        rest = piece
        while rest:
            answer = it.feed(rest)
            if answer is None:
                break
            asked.append((answer, it.query))
            it.inserted(it.resolve(FOUND))
            rest = it.unread
    asked.append(it.in_query)
    return asked


@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    st.lists(st.integers(min_value=0, max_value=200), max_size=30),
)
def test_however_a_stream_is_split_the_requests_are_the_same(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[start:stop] for start, stop in pairwise(places)]
    markers = ("<search>", "</search>")
    assert drive(pieces, *markers) == drive([text], *markers) == drive(list(text), *markers)


@given(st.text(alphabet="ab", max_size=60))
def test_markers_that_begin_alike_are_told_apart_however_they_are_split(text: str) -> None:
    assert drive([text], "aab", "abb") == drive(list(text), "aab", "abb")


def test_a_piece_of_nothing_but_start_markers_is_read_in_one_go() -> None:
    # One server's delta may be a megabyte; looked through for each marker it would take minutes.
    following = channel("bab dad ;")
    assert following.feed("<search>" * 200_000 + "bab") is None
    asked = following.feed("</search>")
    assert isinstance(asked, SearchRequest)
    assert asked.query == "bab"
    assert len(asked.text) == len("bab dad ;" + "<search>" * 199_999)
