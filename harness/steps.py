"""The steps of a worked completion, before any style has worded them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Thought:
    """What is noted on the way."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is searched for."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the search inserts: never written by the model."""

    text: str
    # The passage that is found is the question; `text` is what it asks.
    is_question: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer, which ends the completion."""

    text: str


Step = Thought | Query | Found | Answer


def lookup(query: str, result: str) -> tuple[Query, Found]:
    """A search and what it inserts."""
    return Query(text=query), Found(text=result)
