"""Between the plain values of `harness_retrieval.types` and the messages of the wire."""

from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.rpc.enums import MODES, OUTCOMES
from harnessapi.values import Mode

from harness_retrieval.types import SearchRequest, SearchResult


def query_to_wire(request: SearchRequest, *, offset: int) -> pb.ContextQuery:
    """The message that carries the text from `offset` on, and the query."""
    return pb.ContextQuery(
        context_id=request.context_id,
        offset=offset,
        appended_text=request.text[offset:],
        mode=MODES.number(request.mode),
        query=request.query,
        passage_separator=request.passage_separator,
        top_k=request.top_k,
        request_id=request.request_id,
        traceparent=request.traceparent,
    )


def request_from_wire(
    query: pb.ContextQuery, *, mode: Mode, text: str, deadline_ns: int | None
) -> SearchRequest:
    """The request behind a query; `text` is the whole text up to the end of what was appended."""
    has_separator, has_top_k = query.HasField("passage_separator"), query.HasField("top_k")
    return SearchRequest(
        context_id=query.context_id,
        text=text,
        mode=mode,
        query=query.query,
        passage_separator=query.passage_separator if has_separator else "\n",
        top_k=query.top_k if has_top_k else 1,
        deadline_ns=deadline_ns,
        request_id=query.request_id,
        traceparent=query.traceparent,
    )


def result_to_wire(result: SearchResult) -> pb.ContextResult:
    """The message of a result."""
    return pb.ContextResult(
        outcome=OUTCOMES.number(result.outcome),
        text=result.text,
        start=result.start,
        end=result.end,
        score=result.score,
        detail=result.detail,
        search_ns=result.search_ns,
    )


def result_from_wire(result: pb.ContextResult) -> SearchResult | None:
    """None where the server does not hold the context."""
    outcome = OUTCOMES.member(result.outcome)
    if outcome is None:
        return None
    return SearchResult(
        outcome=outcome,
        text=result.text,
        start=result.start,
        end=result.end,
        # float32 on the wire; scores are rounded to five decimals where they are made
        score=round(result.score, 5) if result.HasField("score") else None,
        detail=result.detail,
        search_ns=result.search_ns,
    )
