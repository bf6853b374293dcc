"""The same scenario, in process and over gRPC, gives the same results."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from harnessapi.values import Mode, Outcome

from harness_retrieval.local import LocalRetriever
from harness_retrieval.remote import RemoteRetriever
from harness_retrieval.types import Retriever, SearchRequest, SearchResult

PROMPT = "bab dad ; gog mim ; né zuz ; sas tat ; ? gog"


@pytest.fixture(params=["local", "remote"])
def retriever(
    request: pytest.FixtureRequest, start_service: Callable[..., Any]
) -> Iterator[Retriever]:
    made: Retriever = LocalRetriever()
    if request.param == "remote":
        made = RemoteRetriever(start_service().address, deadline_s=600)
    yield made
    made.shutdown()


def ask(query: str, *, mode: Mode = Mode.REGEX, text: str = PROMPT, **fields: Any) -> SearchRequest:
    given = {"context_id": "c", "passage_separator": ";", **fields}
    return SearchRequest(text=text, mode=mode, query=query, **given)


def answers(retriever: Retriever, *requests: SearchRequest) -> list[SearchResult]:
    return [dataclasses.replace(each, search_ns=0) for each in retriever.search(requests)]


def found(text: str, start: int, score: float | None = None) -> SearchResult:
    return SearchResult(
        outcome=Outcome.FOUND, text=text, start=start, end=start + len(text), score=score
    )


def test_a_scenario_has_one_outcome_wherever_it_is_searched(retriever: Retriever) -> None:
    grown = PROMPT + " <search> gog (\\S+) </search> mim ; gog sas"
    dense = Mode.DENSE
    assert answers(
        retriever, ask(r"gog (\S+)"), ask(r"^(?:\S+ ){3}(\S+)"), ask("gog", mode=dense)
    ) == [
        found("mim", 14),
        found("gog", 10),
        found("gog mim", 10, 0.75593),
    ]
    assert answers(
        retriever,
        ask(r"né (\S+)", text=grown),
        ask("né", mode=dense, text=grown),
        ask("gog", mode=dense, text=grown, top_k=2),
        ask(r"zzz (\S+)", text=grown),
        ask("zzz", mode=dense, text=grown),
    ) == [
        found("zuz", 23),
        found("né zuz", 20, 0.70711),
        dataclasses.replace(found("gog mim", 10, 0.75593), text="gog mim ; gog sas"),
        SearchResult(outcome=Outcome.NOT_FOUND),
        SearchResult(outcome=Outcome.NOT_FOUND),
    ]


@pytest.mark.parametrize(
    ("query", "fields", "outcome"),
    [
        ("(", {}, Outcome.INVALID_QUERY),
        ("  ", {}, Outcome.INVALID_QUERY),
        ("x" * 1025, {}, Outcome.INVALID_QUERY),
        ("gog", {"top_k": 0}, Outcome.INVALID_QUERY),
        ("gog", {"mode": Mode.DENSE, "passage_separator": ""}, Outcome.INVALID_QUERY),
        ("\ud800(", {}, Outcome.INVALID_QUERY),
        (r"(?:a|b)*a(?:a|b){999}z", {"text": "ab" * 100_000}, Outcome.TOO_COSTLY),
        ("gog", {"text": "x" * 4_000_001}, Outcome.TOO_COSTLY),
    ],
)
def test_a_query_that_cannot_be_searched_is_an_outcome_of_that_query_alone(
    retriever: Retriever, query: str, fields: dict[str, Any], outcome: Outcome
) -> None:
    bad, good = answers(retriever, ask(query, **fields), ask(r"gog (\S+)", context_id="other"))
    assert bad.outcome is outcome
    assert bad.detail
    assert good == found("mim", 14)


def test_text_with_lone_surrogates_is_searched_with_its_offsets_unchanged(
    retriever: Retriever,
) -> None:
    text = "\ud83d gog mim \ud83d ; bab dad"
    assert answers(
        retriever, ask(r"gog (\S+)", text=text), ask("bab", text=text, mode=Mode.DENSE)
    ) == [found("mim", 6), found("bab dad", 14, 0.70711)]


def test_a_context_id_may_be_used_for_another_text(retriever: Retriever) -> None:
    for word in ("first", "second", "third, longer"):
        text = f"bab {word} ; and more"
        assert answers(retriever, ask("bab ([^;]*) ;", text=text)) == [found(word, 4)]
        assert answers(retriever, ask("bab", text=text, mode=Mode.DENSE))[0].text == f"bab {word}"


def test_several_lengths_of_one_context_may_be_asked_in_one_call(retriever: Retriever) -> None:
    last_word = r"(\S+)$"
    texts = ["a b", "a b c", "a b c d", "a b"]
    results = answers(retriever, *[ask(last_word, text=text) for text in texts])
    assert [result.text for result in results] == ["b", "c", "d", "b"]


def test_closing_contexts_is_harmless_and_searching_goes_on_after_it(retriever: Retriever) -> None:
    assert answers(retriever, ask("gog", mode=Mode.DENSE))[0].text == "gog mim"
    retriever.close_contexts(["c", "never opened"])
    retriever.close_contexts(["c"])
    assert answers(retriever, ask("gog", mode=Mode.DENSE))[0].text == "gog mim"
    assert answers(retriever) == []


@pytest.mark.parametrize("mode", list(Mode))
def test_the_work_of_a_search_is_known_before_and_grows_with_its_text(mode: Mode) -> None:
    retriever = LocalRetriever(device="cpu")

    def work(query: str, length: int) -> int:
        text = "fem bab ; " * length
        return retriever.work(
            SearchRequest(context_id="c", text=text, mode=mode, query=query, passage_separator=";")
        )

    assert 0 < work("fem", 10) < work("fem", 1_000)
    # What is refused is not searched, and a pattern over the limit neither.
    assert work("", 1_000) == 10_000
    if mode is Mode.REGEX:
        slow = "a.{0,900}b.{0,900}Q"
        assert work("fem", 10) < work(slow, 10) < work(slow, 100)
        assert work(slow, 100_000) < work(slow, 1_000)
        assert work("(", 10) > work("fem", 10)
