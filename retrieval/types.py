"""What a search is asked and what it answers: plain values, free of any library."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from harnessapi.values import Mode as Mode  # noqa: PLC0414
from harnessapi.values import Outcome as Outcome  # noqa: PLC0414


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRequest:
    """One sequence asks for something in its own context.

    `text` is everything that is searched. It only ever grows between two requests of one context,
    so an implementation may keep what it derived from the earlier part.
    """

    context_id: str
    text: str
    mode: Mode
    query: str
    passage_separator: str = "\n"
    top_k: int = 1
    # When nobody waits for it any more, by time.monotonic_ns; None: never.
    deadline_ns: int | None = None
    # Whose search it is, for logs and traces: the call of a model server, and its span.
    request_id: str = ""
    traceparent: str = ""

    def well_formed(self) -> "SearchRequest":
        """What can be sent as UTF-8: each lone surrogate is a '?', so offsets stay."""
        if self.text.isascii() and self.query.isascii() and self.passage_separator.isascii():
            return self
        return replace(
            self,
            text=_well_formed(self.text),
            query=_well_formed(self.query),
            passage_separator=_well_formed(self.passage_separator),
        )


def _well_formed(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """What was found: `text` stands at `[start, end)` of the searched text, in characters."""

    outcome: Outcome
    text: str = ""
    start: int = 0
    end: int = 0
    score: float | None = None
    detail: str = ""
    search_ns: int = 0


class RetrieverUnavailableError(Exception):
    """The retrieval service could not be reached; the searches were not made."""


class SearchAbandonedError(RetrieverUnavailableError):
    """The search's deadline has passed: nobody waits for it, and it was not made, or not whole."""


class Retriever(Protocol):
    """Searches contexts, in process or over gRPC; the results are the same. Thread-safe.

    `max_requests`: how many one call of `search` may gather; all of them wait for the slowest.
    """

    max_requests: int

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answers each request, in order. Raises RetrieverUnavailableError, never for a query.

        SearchAbandonedError where the deadline of one has passed.
        """
        ...

    def is_costly(self, request: SearchRequest) -> bool:
        """Whether it may take so long that no other should wait behind it."""
        ...

    def close_contexts(self, context_ids: Sequence[str]) -> None:
        """Forgets contexts; unknown ones are ignored."""
        ...

    def shutdown(self) -> None:
        """Lets go of connections and threads."""
        ...
