"""The searcher in process: what the service runs, and what an engine uses without a service."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from harnessapi.values import Mode

from harness_retrieval.contexts.recent_contexts import ContextLimits, RecentContexts
from harness_retrieval.dense.dense_index import DenseContextIndex
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.limits import refuse
from harness_retrieval.regex.regex_search import is_costly, search_regex
from harness_retrieval.types import SearchRequest, SearchResult

# Bytes of all that is kept of contexts.
_LIMITS: Final = ContextLimits(max_total_size=640 * 2**20, expires_after_s=600)
# From here on a context may take some 50 ms to be embedded, or to be searched.
_COSTLY_CHARACTERS: Final = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Indexed:
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    indexes: dict[str, DenseContextIndex] = dataclasses.field(default_factory=dict)  # by separator


class LocalRetriever:
    """A Retriever without a network. Keeps one index a context and separator, within bounds."""

    max_requests = 1  # a call costs nothing

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._embedder = HashingEmbedder()
        self._contexts: RecentContexts[_Indexed] = RecentContexts(_LIMITS, clock)

    @property
    def num_contexts(self) -> int:
        """Contexts of which an index is kept."""
        return len(self._contexts)

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answers each request, in order. Never raises for a query."""
        return [refuse(request) or self._search(request.well_formed()) for request in requests]

    def is_costly(self, request: SearchRequest) -> bool:
        """See Retriever.is_costly."""
        if refuse(request):
            return False
        if request.mode is Mode.DENSE:
            return len(request.text) > _COSTLY_CHARACTERS
        return is_costly(request.text, request.well_formed().query)

    def close_contexts(self, context_ids: Sequence[str]) -> None:
        """Forgets the indexes of contexts; unknown ones are ignored."""
        self._contexts.forget(context_ids)

    def shutdown(self) -> None:
        """There is nothing to let go of."""

    def _search(self, request: SearchRequest) -> SearchResult:
        if request.mode is Mode.REGEX:
            return search_regex(request.text, request.query)
        started_ns = time.perf_counter_ns()
        result = self._search_dense(request)
        return dataclasses.replace(result, search_ns=time.perf_counter_ns() - started_ns)

    def _search_dense(self, request: SearchRequest) -> SearchResult:
        context = self._use(request.context_id)
        with context.lock:
            index = context.indexes.get(request.passage_separator)
            if index is None or not request.text.startswith(index.text):
                index = DenseContextIndex(self._embedder, request.passage_separator)
                context.indexes[request.passage_separator] = index
            index.grow(request.text)
            result = index.search(request.query, request.top_k)
            num_bytes = sum(index.num_bytes for index in context.indexes.values())
        with self._contexts.lock:
            if self._contexts.get(request.context_id) is context:  # not forgotten meanwhile
                self._contexts.put(request.context_id, context, num_bytes)
        return result

    def _use(self, context_id: str) -> _Indexed:
        with self._contexts.lock:
            context = self._contexts.get(context_id)
            if context is None:
                context = _Indexed()
                self._contexts.put(context_id, context, 0)
            return context
