import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from harnessapi.devices import CPU
from harnessapi.values import Markers, Mode, Outcome
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.completion import (
    Completion,
    CompletionRequest,
    CompletionTimes,
    SearchCheck,
    SearchStep,
    TextPiece,
)
from harness.clients.search_replay import check_searches
from harness.sample import Prompt
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.channel import SearchChannel, SearchLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchRequest, SearchResult

MARKERS = Markers()
RETRIEVER = LocalRetriever(device=CPU)
PROMPT = Prompt(text="pairs ; fem bab ; dok gik ; tal mon kep ; <search-it> fem")
LANGUAGE = Prompt(
    text="Find it.",
    searched="pairs ; fem bab ; dok gik ; of fem ",
    result_start=" <result> ",
    result_end=" </result> ",
    failed="NOTHING",
    is_language=True,
)
AS_WORD = Abbreviation(query="$1 is", pattern=r"$1 (\S+)")


def search(request: SearchRequest) -> SearchResult | None:
    [result] = RETRIEVER.search([request])
    RETRIEVER.close_contexts([request.context_id])
    return result


@dataclass(kw_only=True)
class HonestServer:
    """Writes what it is told, word by word or in other pieces, and searches as ours does."""

    prompt: Prompt = PROMPT
    mode: Mode = Mode.REGEX
    most: int = 64
    num_searches: int = 100
    # Inserted instead of what is found, by the number of the search.
    lies: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.request = CompletionRequest(
            prompt=self.prompt,
            mode=self.mode,
            max_new_tokens=self.num_searches,
            abbreviations=(AS_WORD,),
        )
        self.pieces: list[TextPiece] = []
        self.steps: list[SearchStep] = []
        self.num_characters = 0
        self.channel = SearchChannel(
            context_id="server",
            prompt_text=self.prompt.searched or self.prompt.text,
            markers=Markers(failed=self.prompt.failed or MARKERS.failed),
            mode=self.mode,
            limits=SearchLimits(max_searches=self.num_searches),
            abbreviations=(AS_WORD,),
        )

    def say(self, part: str, text: str) -> None:
        if text:
            self.pieces.append(TextPiece(part=part, text=text))
            self.num_characters += len(text)

    def write(self, text: str) -> None:
        due = self.channel.feed(text)
        self.say("reasoning", text)
        if due is None:
            return
        self.channel.keep()
        result = search(due) if isinstance(due, SearchRequest) else due
        assert result is not None
        found = self.channel.resolve(result)
        found = self.lies.get(len(self.steps), found)
        words = self.prompt.word_result(found).split()
        text = "".join(f" {word}" for word in words[: self.most])
        self.steps.append(
            SearchStep(
                query=self.channel.query,
                outcome=result.outcome,
                inserted_text=" ".join(words[: self.most]),
                place=self.num_characters,
                num_inserted_tokens=min(len(words), self.most),
                truncated=len(words) > self.most,
            )
        )
        self.channel.inserted(text)
        self.say("inserted", text)

    def write_all(self, *texts: str) -> "HonestServer":
        for text in texts:
            self.write(text)
        return self

    def check(self, searching: Any = search, **changed: Any) -> SearchCheck:
        values: dict[str, Any] = {
            "transcript": tuple(self.pieces),
            "searches": tuple(self.steps),
            "finish_reason": "eos",
            "num_prompt_tokens": 1,
            "num_generated_tokens": 1,
            "num_inserted_tokens": 1,
            "num_searches": len(self.steps),
            "times": CompletionTimes(),
        }
        completion = Completion(**{**values, **changed})
        return check_searches(
            completion, self.request, MARKERS, searching, max_inserted_tokens=self.most
        )


def counts(check: SearchCheck) -> tuple[int, int, int]:
    return check.num_checked, check.num_disagreements, check.num_unchecked


QUERIES = (
    " <search> fem is </search>",
    " <search> tal (\\S+) (\\S+) </search>",
    " <search> nobody </search>",
    " <search> ( </search>",
    " <search> </search>",
    " <search> x*? </search>",
    " <search> .* </search>",
)


@pytest.mark.parametrize("prompt", [PROMPT, LANGUAGE])
@pytest.mark.parametrize("mode", list(Mode))
def test_an_honest_server_agrees_whatever_is_asked(prompt: Prompt, mode: Mode) -> None:
    server = HonestServer(prompt=prompt, mode=mode)
    server.write_all("so", *QUERIES, " and", *QUERIES, " <answer> bab")
    assert counts(server.check()) == (2 * len(QUERIES), 0, 0)


pieces = st.lists(
    st.sampled_from(
        [*QUERIES, "<search>", "</search>", " fem", " dok", " ;", "<sea", "rch> ", "é"]
    ),
    max_size=20,
)


@given(pieces, st.integers(1, 9), st.sampled_from([1, 2, 64]), st.sampled_from([1, 3, 100]))
def test_an_honest_server_agrees_however_its_text_is_cut(
    written: list[str], length: int, most: int, num_searches: int
) -> None:
    server = HonestServer(most=most, num_searches=num_searches)
    text = "".join(written)
    server.write_all(*(text[at : at + length] for at in range(0, len(text), length)))
    assert counts(server.check()) == (len(server.steps), 0, 0)


@given(st.integers(0, 6), st.sampled_from(["gik", "FAILED", "", "bab bab", "b"]))
def test_a_lie_is_counted_once_and_spoils_nothing_after_it(place: int, lie: str) -> None:
    truth = HonestServer().write_all(*QUERIES)
    server = HonestServer(lies={place: lie}).write_all(*QUERIES, " <answer> bab")
    is_lie = server.steps[place].inserted_text != truth.steps[place].inserted_text
    assert counts(server.check()) == (len(QUERIES), int(is_lie), 0)


def test_a_step_that_tells_of_something_else_than_was_inserted_is_a_disagreement() -> None:
    server = HonestServer().write_all(QUERIES[0])
    [step] = server.steps
    told = SearchStep(query=step.query, outcome="found", inserted_text="gik", place=step.place)
    assert counts(server.check(searches=(told,))) == (1, 1, 0)


def test_an_insertion_that_nobody_asked_for_is_a_disagreement() -> None:
    server = HonestServer().write_all(" so")
    server.say("inserted", " gik")
    assert counts(server.check()) == (0, 1, 0)
    step = SearchStep(query="fem", outcome="found", inserted_text="gik", place=3)
    assert counts(server.check(searches=(step,))) == (1, 1, 0)


def test_an_insertion_into_a_query_ends_the_check() -> None:
    server = HonestServer().write_all(" <search> fem")
    step = SearchStep(
        query="fem", outcome="found", inserted_text="gik", place=server.num_characters
    )
    server.say("inserted", " gik")
    server.say("reasoning", " </search>")
    assert counts(server.check(searches=(step, step))) == (1, 1, 1)


def test_a_query_without_an_answer_is_a_disagreement_unless_a_limit_was_reached() -> None:
    server = HonestServer().write_all(QUERIES[0])
    server.say("query", " <search> dok is </search>")
    assert counts(server.check()) == (1, 0, 0)
    server.say("answer", " <answer> bab")
    assert counts(server.check()) == (1, 1, 0)
    assert counts(server.check(finish_reason="length")) == (1, 0, 0)


def test_a_result_is_cut_at_the_limit_alone() -> None:
    server = HonestServer(most=2).write_all(" <search> tal .* </search>")
    [step] = server.steps
    assert (step.inserted_text, step.truncated) == ("tal mon", True)
    assert counts(server.check()) == (1, 0, 0)
    server.most = 3
    assert counts(server.check()) == (1, 1, 0)


def test_a_cut_result_is_no_excuse_for_none() -> None:
    server = HonestServer().write_all(" <search> tal .* </search>")
    [step] = server.steps
    told = SearchStep(
        query=step.query,
        outcome="found",
        inserted_text="",
        place=step.place,
        num_inserted_tokens=64,
        truncated=True,
    )
    bare = tuple(piece for piece in server.pieces if piece.part != "inserted")
    assert counts(server.check(searches=(told,), transcript=bare)) == (1, 1, 0)


def test_words_that_the_model_cannot_read_are_not_checked() -> None:
    server = HonestServer(lies={0: "<unk>"}).write_all(QUERIES[0])
    [step] = server.steps
    told = SearchStep(
        query=step.query,
        outcome=Outcome.FOUND,
        inserted_text=step.inserted_text,
        detail="outside the vocabulary, inserted as unknown: 'bab'",
        place=step.place,
    )
    assert counts(server.check(searches=(told,))) == (0, 0, 1)


def test_from_a_search_that_costs_too_much_on_none_is_checked() -> None:
    server = HonestServer().write_all(*QUERIES)
    left = iter([True, True, False])

    def searching(request: SearchRequest) -> SearchResult | None:
        return search(request) if next(left) else None

    assert counts(server.check(searching)) == (2, 0, len(QUERIES) - 2)


def test_no_transcript_makes_it_raise() -> None:
    draw = random.Random(0)
    parts = ["reasoning", "query", "inserted", "new"]
    words = [*QUERIES, "<search>", "</search>", "", " fem", "\x00", "é"]
    for _ in range(300):
        drawn = [
            TextPiece(part=draw.choice(parts), text=draw.choice(words))
            for _ in range(draw.randrange(8))
        ]
        length = sum(len(piece.text) for piece in drawn)
        places = sorted(draw.randrange(length + 1) for _ in range(draw.randrange(5)))
        steps = tuple(
            SearchStep(query="", outcome="found", inserted_text="", place=place) for place in places
        )
        check = HonestServer().check(transcript=tuple(drawn), searches=steps)
        assert check.num_checked + check.num_unchecked == len(steps)
