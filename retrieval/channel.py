"""The search channel of one sequence: finds queries in what a model writes, says what to insert.

The model writes StartSearch, a query, EndSearch. What is searched is everything before that
StartSearch: the prompt, the model's own output with its earlier queries, and what was inserted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from harnessapi.values import Markers, Mode, Outcome

from harness_retrieval.abbreviations import Abbreviation, expand
from harness_retrieval.limits import refuse_query
from harness_retrieval.types import SearchRequest, SearchResult


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchLimits:
    """What one sequence may ask for."""

    max_searches: int = 1024


class _State(Enum):
    WRITING = auto()
    IN_QUERY = auto()
    AWAITING_RESULT = auto()


class SearchChannel:
    """Follows one sequence: `feed` until it returns something, then `resolve` and `inserted`.

    A second start marker inside a query begins the query anew: what stood before it becomes part of
    the searched text. An end marker outside a query is ordinary text. Inserted text is never read
    for markers. `feed` returns None, or a SearchRequest to be searched, or a SearchResult that is
    already decided (LIMIT_REACHED, INVALID_QUERY) and needs no search; both are then resolved.
    In mode REGEX a query that is one of the `abbreviations` is searched as its pattern.
    """

    def __init__(
        self,
        *,
        context_id: str,
        prompt_text: str,
        markers: Markers,
        mode: Mode,
        limits: SearchLimits,
        top_k: int = 1,
        abbreviations: Sequence[Abbreviation] = (),
    ) -> None:
        self.num_searches = 0
        self.query = ""  # the last complete query, for the transcript
        self.expanded_query = ""  # the pattern that it stood for, where it was an abbreviation
        self.unread = ""  # what followed an end marker in the same piece
        # What the last piece decided, in order: text, and whether a query and its markers have it.
        self.decided: list[tuple[bool, str]] = []
        self._context_id = context_id
        self._markers = markers
        self._mode = mode
        self._limits = limits
        self._top_k = top_k
        self._abbreviations = abbreviations if mode is Mode.REGEX else ()
        self._pieces = [prompt_text]  # the context up to the query; joined at a search only
        self._query_pieces: list[str] = []
        self._held = ""  # the end of the text, where it may be the beginning of a marker
        self._state = _State.WRITING
        self._is_plain = True  # writing and nothing held back: the quick way through feed
        self._start_initial = markers.start[0]

    @property
    def in_query(self) -> bool:
        """True from the start marker until the end marker."""
        return self._state is _State.IN_QUERY

    @property
    def awaits_result(self) -> bool:
        """True from the end marker until `resolve`."""
        return self._state is _State.AWAITING_RESULT

    def feed(self, text: str) -> SearchRequest | SearchResult | None:
        """Takes the next piece of what the model wrote; markers may be split over pieces.

        Reading stops at an end marker: what follows it in `text` is left in `unread`, for the
        caller to drop (it was written without the result), or to `keep`.
        Raises RuntimeError while a result is due.
        """
        # Called once a generated token: most tokens hold no marker and end here.
        if self._is_plain and self._start_initial not in text:
            self._pieces.append(text)
            self.decided = [(False, text)]
            return None
        self.decided = []
        return self._read(text)

    def keep(self) -> str:
        """Makes the `unread` part of the context: the model goes on after it. Returns it."""
        kept, self.unread = self.unread, ""
        self._pieces.append(kept)
        return kept

    def release(self) -> list[tuple[bool, str]]:
        """What was held back, as `decided` has it, where nothing more is to come."""
        held, self._held = self._held, ""
        return [(self.in_query, held)] if held else []

    def resolve(self, result: SearchResult) -> str:
        """Takes the result of the query; returns the text to insert. The model then writes on.

        Raises RuntimeError where no result is due.
        """
        if not self.awaits_result:
            raise RuntimeError(f"context {self._context_id!r} got a result without a query")
        self._enter(_State.WRITING)
        return result.text if result.outcome is Outcome.FOUND else self._markers.failed

    def inserted(self, text: str) -> None:
        """Makes what was really inserted (it may have been cut) part of the context.

        Raises RuntimeError inside a query and while a result is due.
        """
        if self._state is not _State.WRITING:
            raise RuntimeError(f"context {self._context_id!r} cannot take an insertion in a query")
        self._pieces.append(self._held)
        self._pieces.append(text)
        self._enter(_State.WRITING)

    def _enter(self, state: _State) -> None:
        self._state = state
        self._held = ""
        self._is_plain = state is _State.WRITING

    def _read(self, text: str) -> SearchRequest | SearchResult | None:
        if self.awaits_result:
            raise RuntimeError(f"context {self._context_id!r} was fed while a result is due")
        text = self._held + text
        place = 0
        while True:
            start, marker = self._next_marker(text, place)
            if not marker:
                self._hold_back(text[place:])
                return None
            before, place = text[place:start], start + len(marker)
            if marker == self._markers.end:
                self._decide(before + marker, is_query=True)
                self._query_pieces.append(before)
                self.unread = text[place:]
                return self._finish_query()
            self._decide(before, is_query=self.in_query)
            self._decide(marker, is_query=True)
            self._begin_query(before)

    def _decide(self, text: str, *, is_query: bool) -> None:
        if text:
            self.decided.append((is_query, text))

    def _next_marker(self, text: str, place: int) -> tuple[int, str]:
        """Where the first marker from there on begins that means something now; "": none does.

        However many there are, no part of the text is looked through for each of them.
        """
        markers = self._markers
        start = text.find(markers.start, place)
        if self.in_query:
            # One that begins before that.
            last = len(text) if start < 0 else start + len(markers.end) - 1
            end = text.find(markers.end, place, last)
            if end >= 0:
                return end, markers.end
        return start, markers.start if start >= 0 else ""

    def _hold_back(self, text: str) -> None:
        """Keeps the end of `text` that may be the beginning of a marker; the rest is text."""
        in_query = self._state is _State.IN_QUERY
        num_held = _num_held_back(text, self._markers.start)
        if in_query:
            num_held = max(num_held, _num_held_back(text, self._markers.end))
        cut = len(text) - num_held
        self._decide(text[:cut], is_query=in_query)
        (self._query_pieces if in_query else self._pieces).append(text[:cut])
        self._held = text[cut:]
        self._is_plain = not in_query and not self._held

    def _begin_query(self, before: str) -> None:
        if self._state is _State.IN_QUERY:
            self._pieces += [self._markers.start, *self._query_pieces]
        self._pieces.append(before)
        self._query_pieces = []
        self._enter(_State.IN_QUERY)

    def _finish_query(self) -> SearchRequest | SearchResult:
        written = "".join(self._query_pieces)
        self.query, self.expanded_query = written.strip(), ""
        answer = self._decide_without_search() or self._request()
        self._pieces += [self._markers.start, written, self._markers.end]
        self._query_pieces = []
        self._enter(_State.AWAITING_RESULT)
        return answer

    def _decide_without_search(self) -> SearchResult | None:
        limit = self._limits.max_searches
        if self.num_searches >= limit:
            detail = f"the limit of {limit} searches is reached"
            return SearchResult(outcome=Outcome.LIMIT_REACHED, detail=detail)
        return refuse_query(self.query)

    def _request(self) -> SearchRequest:
        self.num_searches += 1
        self.expanded_query = expand(self._abbreviations, self.query)
        text = "".join(self._pieces)
        self._pieces = [text]
        return SearchRequest(
            context_id=self._context_id,
            text=text.removesuffix(" "),  # the space that joins the marker to what precedes it
            mode=self._mode,
            query=self.expanded_query or self.query,
            passage_separator=self._markers.passage_separator,
            top_k=self._top_k,
        )


def _num_held_back(text: str, marker: str) -> int:
    """Length of the longest end of `text` that is a beginning of `marker`, but not all of it."""
    if marker[0] not in text:
        return 0
    for length in range(min(len(marker) - 1, len(text)), 0, -1):
        if marker.startswith(text[-length:]):
            return length
    return 0
