"""Which requests are refused without a search: one rule for the local and the remote retriever."""

from harness_retrieval.types import Mode, Outcome, SearchRequest, SearchResult

MAX_CONTEXT_CHARACTERS = 4_000_000
MAX_QUERY_CHARACTERS = 4_096
MAX_TOP_K = 100


def refuse(request: SearchRequest) -> SearchResult | None:
    """The result of a request that cannot be searched, or None where it can."""
    if not request.query.strip():
        return _invalid("the query is empty")
    if len(request.query) > MAX_QUERY_CHARACTERS:
        return _invalid(
            f"the query has {len(request.query)} characters, over {MAX_QUERY_CHARACTERS}"
        )
    if len(request.text) > MAX_CONTEXT_CHARACTERS:
        detail = f"the context has {len(request.text)} characters, over {MAX_CONTEXT_CHARACTERS}"
        return SearchResult(outcome=Outcome.TOO_COSTLY, detail=detail)
    if request.mode is Mode.DENSE and not request.passage_separator:
        return _invalid("the passage separator is empty")
    if not 1 <= request.top_k <= MAX_TOP_K:
        return _invalid(f"top_k is {request.top_k}, not between 1 and {MAX_TOP_K}")
    return None


def _invalid(detail: str) -> SearchResult:
    return SearchResult(outcome=Outcome.INVALID_QUERY, detail=detail)
