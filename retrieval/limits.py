"""Which requests are refused without a search: one rule for the channel and every retriever."""

from typing import Final

from harnessapi.values import Mode, Outcome

from harness_retrieval.types import SearchRequest, SearchResult

MAX_CONTEXT_CHARACTERS: Final = 4_000_000
MAX_QUERY_CHARACTERS: Final = 1_024
MAX_SEPARATOR_CHARACTERS: Final = 256
MAX_TOP_K: Final = 100
# In one call to the service; its own client sends 16.
MAX_QUERIES: Final = 64
# In one call: as many as are ever kept.
MAX_CLOSED_CONTEXTS: Final = 4096
MAX_CONTEXT_ID_CHARACTERS: Final = 256
# Of a request: a whole context of the widest characters, and what else 64 queries say.
MAX_REQUEST_BYTES: Final = 4 * MAX_CONTEXT_CHARACTERS + 4 * 2**20


def refuse_query(query: str) -> SearchResult | None:
    """The result of a query that no search can be made of, or None."""
    if not query.strip():
        return _invalid("the query is empty")
    if len(query) > MAX_QUERY_CHARACTERS:
        return _invalid(f"the query has {len(query)} characters, over {MAX_QUERY_CHARACTERS}")
    return None


def refuse(request: SearchRequest) -> SearchResult | None:
    """The result of a request that cannot be searched, or None where it can."""
    if refused := refuse_query(request.query):
        return refused
    if len(request.text) > MAX_CONTEXT_CHARACTERS:
        detail = f"the context has {len(request.text)} characters, over {MAX_CONTEXT_CHARACTERS}"
        return SearchResult(outcome=Outcome.TOO_COSTLY, detail=detail)
    if request.mode is Mode.DENSE and not request.passage_separator:
        return _invalid("the passage separator is empty")
    if len(request.passage_separator) > MAX_SEPARATOR_CHARACTERS:
        length = len(request.passage_separator)
        return _invalid(
            f"the passage separator has {length} characters, over {MAX_SEPARATOR_CHARACTERS}"
        )
    if not 1 <= request.top_k <= MAX_TOP_K:
        return _invalid(f"top_k is {request.top_k}, not between 1 and {MAX_TOP_K}")
    return None


def _invalid(detail: str) -> SearchResult:
    return SearchResult(outcome=Outcome.INVALID_QUERY, detail=detail)
