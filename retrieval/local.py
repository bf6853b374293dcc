"""The searcher in process: what the service runs, and what an engine uses without a service."""

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from harnessapi.devices import AUTO, CUDA
from harnessapi.values import Mode

from harness_retrieval.contexts.recent_contexts import ContextLimits, RecentContexts
from harness_retrieval.dense.dense_index import DenseContextIndex, index_device
from harness_retrieval.dense.embedding import HashingEmbedder, pause
from harness_retrieval.limits import refuse
from harness_retrieval.regex.regex_search import is_costly, regex_work, search_regex
from harness_retrieval.types import SearchAbandonedError, SearchRequest, SearchResult

# Bytes: texts, places and vectors of all passages, for every separator.
_LIMITS: Final = ContextLimits(max_total_size=512 * 2**20, expires_after_s=600)
# A dense search is costly that reads more characters than this, or compares more passages: some
# thirty milliseconds.
_COSTLY_CHARACTERS: Final = 24_000
_COSTLY_PASSAGES: Final = 16_384
# Embedding what was not yet, and at worst all of it: a text without a separator.
_DENSE_NS_PER_CHARACTER: Final = 1_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Indexed:
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    indexes: dict[str, DenseContextIndex] = dataclasses.field(default_factory=dict)  # by separator


class LocalRetriever:
    """A Retriever without a network. Keeps one index a context and separator, within bounds."""

    max_requests = 1  # a call costs nothing

    def __init__(self, *, device: str = AUTO, clock: Callable[[], float] = time.monotonic) -> None:
        """`device`: where vectors are compared. Raises DeviceError where it is not there."""
        self._on_gpu = index_device(device) == CUDA
        self._embedder = HashingEmbedder()
        self._contexts: RecentContexts[_Indexed] = RecentContexts(_LIMITS, clock)

    @property
    def num_contexts(self) -> int:
        """Contexts of which an index is kept."""
        return len(self._contexts)

    @property
    def num_bytes(self) -> int:
        """What these indexes take, their texts with them."""
        return self._contexts.total_size

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        """Answers each request, in order. Never raises for a query, but SearchAbandonedError."""
        return [refuse(request) or self._search(request.well_formed()) for request in requests]

    def is_costly(self, request: SearchRequest) -> bool:
        """See Retriever.is_costly."""
        if refuse(request):
            return False
        if request.mode is Mode.REGEX:
            return is_costly(request.text, request.well_formed().query)
        with self._contexts.lock:
            context = self._contexts.get(request.context_id)
        index = context.indexes.get(request.passage_separator) if context else None
        if index is None:
            return len(request.text) > _COSTLY_CHARACTERS
        return (
            index.num_unread(request.text) > _COSTLY_CHARACTERS
            or index.num_passages > _COSTLY_PASSAGES
        )

    def work(self, request: SearchRequest) -> int:
        """Nanoseconds that the search may take at worst, roughly: known before, the same anywhere.

        What models write takes some hundredth of it.
        """
        if refuse(request):
            return len(request.text)
        if request.mode is Mode.REGEX:
            return len(request.text) + regex_work(request.text, request.well_formed().query)
        return _DENSE_NS_PER_CHARACTER * len(request.text)

    def close_contexts(self, context_ids: Sequence[str]) -> None:
        """Forgets the indexes of contexts; unknown ones are ignored."""
        self._contexts.forget(context_ids)

    def shutdown(self) -> None:
        """There is nothing to let go of."""

    def _search(self, request: SearchRequest) -> SearchResult:
        _require_time(request)
        if request.mode is Mode.REGEX:
            return search_regex(request.text, request.query)
        started_ns = time.perf_counter_ns()
        result = self._search_dense(request)
        return dataclasses.replace(result, search_ns=time.perf_counter_ns() - started_ns)

    def _search_dense(self, request: SearchRequest) -> SearchResult:
        def go_on() -> None:
            _require_time(request)
            pause()

        context = self._use(request.context_id)
        with context.lock:
            index = context.indexes.get(request.passage_separator)
            if index is None or not request.text.startswith(index.text):
                index = DenseContextIndex(
                    self._embedder, request.passage_separator, on_gpu=self._on_gpu
                )
                context.indexes[request.passage_separator] = index
            try:
                index.grow(request.text, go_on)
                return index.search(request.query, request.top_k, go_on)
            finally:
                self._keep(request.context_id, context)

    def _keep(self, context_id: str, context: _Indexed) -> None:
        num_bytes = sum(index.num_bytes for index in context.indexes.values())
        with self._contexts.lock:
            if self._contexts.get(context_id) is context:  # not forgotten meanwhile
                self._contexts.put(context_id, context, num_bytes)

    def _use(self, context_id: str) -> _Indexed:
        with self._contexts.lock:
            context = self._contexts.get(context_id)
            if context is None:
                context = _Indexed()
                self._contexts.put(context_id, context, 0)
            return context


def _require_time(request: SearchRequest) -> None:
    """Raises SearchAbandonedError."""
    if request.deadline_ns is not None and time.monotonic_ns() >= request.deadline_ns:
        raise SearchAbandonedError("the deadline of the search has passed")
