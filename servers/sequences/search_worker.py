"""Makes the searches of many sequences on a few threads of their own: none waits for a slow one."""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final

from harness_retrieval.types import (
    Retriever,
    RetrieverUnavailableError,
    SearchRequest,
    SearchResult,
)
from harness_servers.errors import UnavailableError

_log = logging.getLogger(__name__)
# Two at least, or a slow search would hold up all others; each takes a core from the model.
_NUM_THREADS: Final = max(2, min(4, os.cpu_count() or 2))

Result = SearchResult | UnavailableError


class SearchWorker:
    """A SearchQueue. `post` is called on one of its threads, with results as they are ready.

    A call of the retriever carries what has gathered while all threads were searching, at most
    `Retriever.max_requests`.
    """

    def __init__(
        self, retriever: Retriever, post: Callable[[list[tuple[int, Result]]], None]
    ) -> None:
        self._retriever = retriever
        self._post = post
        self._gathered: SimpleQueue[tuple[int, SearchRequest]] = SimpleQueue()
        self._pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="searches")

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        """See SearchQueue.submit."""
        self._gathered.put((sequence_id, request))
        self._pool.submit(self._search_gathered)

    def forget(self, context_id: str) -> None:
        """See SearchQueue.forget."""
        self._pool.submit(self._forget, context_id)

    def close(self) -> None:
        """Drops what waits, lets go of the retriever, and waits for searches under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._retriever.shutdown()
        self._pool.shutdown()

    def _search_gathered(self) -> None:
        batch: list[tuple[int, SearchRequest]] = []
        try:
            while len(batch) < self._retriever.max_requests:
                batch.append(self._gathered.get_nowait())
        except Empty:
            if not batch:
                return  # another thread took it along
        ids, requests = zip(*batch, strict=True)
        self._post([*zip(ids, self._search(requests), strict=True)])

    def _search(self, requests: tuple[SearchRequest, ...]) -> list[Result]:
        try:
            return [*self._retriever.search(requests)]
        except RetrieverUnavailableError as error:
            return [UnavailableError(f"retrieval: {error}")] * len(requests)
        except Exception as error:  # a sequence must not wait for ever for what went wrong here
            _log.exception("a search failed")
            return [UnavailableError(f"retrieval failed: {error!r}")] * len(requests)

    def _forget(self, context_id: str) -> None:
        try:
            self._retriever.close_contexts([context_id])
        except RetrieverUnavailableError:
            pass  # contexts expire by themselves
        except Exception:
            _log.exception("context %s could not be closed", context_id)
