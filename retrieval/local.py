"""The searcher in process: what the service runs, and what an engine uses without a service."""

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from harness_retrieval.dense.dense_index import DenseContextIndex
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.limits import refuse
from harness_retrieval.regex.regex_search import search_regex
from harness_retrieval.text import well_formed
from harness_retrieval.types import Mode, SearchRequest, SearchResult

_MAX_CONTEXTS = 4096
_MAX_TOTAL_PASSAGES = 131_072
_EXPIRES_AFTER_S = 600.0


@dataclasses.dataclass(kw_only=True, slots=True)
class _Context:
    last_use_s: float
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    indexes: dict[str, DenseContextIndex] = dataclasses.field(default_factory=dict)  # by separator
    num_passages: int = 0


class LocalRetriever:
    """A Retriever without a network. Keeps one index a context and separator, within bounds."""

    def __init__(
        self,
        *,
        embedder: HashingEmbedder | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._embedder = embedder or HashingEmbedder()
        self._clock = clock
        self._lock = threading.Lock()
        self._contexts: OrderedDict[str, _Context] = OrderedDict()  # last used at the end
        self._num_passages = 0

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answers each request, in order. Never raises for a query."""
        return [self._search(request) for request in requests]

    def close_contexts(self, context_ids: Sequence[str]) -> None:
        """Forgets the indexes of contexts; unknown ones are ignored."""
        with self._lock:
            for context_id in context_ids:
                self._forget(context_id)

    def shutdown(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._contexts.clear()
            self._num_passages = 0

    def _search(self, request: SearchRequest) -> SearchResult:
        if refused := refuse(request):
            return refused
        if request.mode is Mode.REGEX:
            return search_regex(request.text, request.query)
        started_ns = time.perf_counter_ns()
        result = self._search_dense(request)
        return dataclasses.replace(result, search_ns=time.perf_counter_ns() - started_ns)

    def _search_dense(self, request: SearchRequest) -> SearchResult:
        text, separator = well_formed(request.text), well_formed(request.passage_separator)
        context = self._use(request.context_id)
        with context.lock:
            index = context.indexes.get(separator)
            if index is None or not text.startswith(index.text):
                index = DenseContextIndex(self._embedder, separator)
                context.indexes[separator] = index
            index.grow(text)
            result = index.search(well_formed(request.query), request.top_k)
            num_passages = sum(index.num_passages for index in context.indexes.values())
        self._count(request.context_id, context, num_passages)
        return result

    def _use(self, context_id: str) -> _Context:
        with self._lock:
            context = self._contexts.setdefault(context_id, _Context(last_use_s=0.0))
            context.last_use_s = self._clock()
            self._contexts.move_to_end(context_id)
            return context

    def _count(self, context_id: str, context: _Context, num_passages: int) -> None:
        """Counts what a context holds, and forgets those unused for longest past the bounds."""
        with self._lock:
            if self._contexts.get(context_id) is context:  # not forgotten meanwhile
                self._num_passages += num_passages - context.num_passages
                context.num_passages = num_passages
            oldest_s = self._clock() - _EXPIRES_AFTER_S
            while self._contexts:
                first_id, first = next(iter(self._contexts.items()))
                if first.last_use_s >= oldest_s and not self._is_full():
                    return
                self._forget(first_id)

    def _forget(self, context_id: str) -> None:
        if context := self._contexts.pop(context_id, None):
            self._num_passages -= context.num_passages

    def _is_full(self) -> bool:
        return len(self._contexts) > _MAX_CONTEXTS or self._num_passages > _MAX_TOTAL_PASSAGES
