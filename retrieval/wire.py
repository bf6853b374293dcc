"""Between the plain values of `harness_retrieval.types` and the messages of the wire."""

from harnessapi.retrieval.v1 import retrieval_pb2 as pb

from harness_retrieval.types import Mode, Outcome, SearchRequest, SearchResult

MAX_MESSAGE_BYTES = 64 << 20

_MODES = {
    Mode.REGEX: pb.RETRIEVAL_MODE_REGEX,
    Mode.DENSE: pb.RETRIEVAL_MODE_DENSE,
}
_OUTCOMES = {
    Outcome.FOUND: pb.SEARCH_OUTCOME_FOUND,
    Outcome.NOT_FOUND: pb.SEARCH_OUTCOME_NOT_FOUND,
    Outcome.INVALID_QUERY: pb.SEARCH_OUTCOME_INVALID_QUERY,
    Outcome.TOO_COSTLY: pb.SEARCH_OUTCOME_TOO_COSTLY,
    Outcome.LIMIT_REACHED: pb.SEARCH_OUTCOME_LIMIT_REACHED,
}
_MODE_OF = {number: mode for mode, number in _MODES.items()}
_OUTCOME_OF = {number: outcome for outcome, number in _OUTCOMES.items()}


def query_to_wire(request: SearchRequest, *, offset: int) -> pb.ContextQuery:
    """The message that carries the text from `offset` on, and the query."""
    return pb.ContextQuery(
        context_id=request.context_id,
        offset=offset,
        appended_text=request.text[offset:],
        mode=_MODES[request.mode],
        query=request.query,
        passage_separator=request.passage_separator,
        top_k=request.top_k,
    )


def mode_from_wire(mode: pb.RetrievalMode.ValueType) -> Mode | None:
    """None where no mode, or one unknown here, was given."""
    return _MODE_OF.get(mode)


def request_from_wire(query: pb.ContextQuery, *, mode: Mode, text: str) -> SearchRequest:
    """The request behind a query; `text` is the whole text up to the end of what was appended."""
    has_separator, has_top_k = query.HasField("passage_separator"), query.HasField("top_k")
    return SearchRequest(
        context_id=query.context_id,
        text=text,
        mode=mode,
        query=query.query,
        passage_separator=query.passage_separator if has_separator else "\n",
        top_k=query.top_k if has_top_k else 1,
    )


def result_to_wire(result: SearchResult) -> pb.ContextResult:
    """The message of a result."""
    return pb.ContextResult(
        outcome=_OUTCOMES[result.outcome],
        text=result.text,
        start=result.start,
        end=result.end,
        score=result.score,
        detail=result.detail,
        search_ns=result.search_ns,
    )


def result_from_wire(result: pb.ContextResult) -> SearchResult | None:
    """None where the server does not hold the context."""
    if result.outcome == pb.SEARCH_OUTCOME_CONTEXT_NOT_FOUND:
        return None
    return SearchResult(
        outcome=_OUTCOME_OF[result.outcome],
        text=result.text,
        start=result.start,
        end=result.end,
        # float32 on the wire; scores are rounded to five decimals where they are made
        score=round(result.score, 5) if result.HasField("score") else None,
        detail=result.detail,
        search_ns=result.search_ns,
    )
