"""Makes the searches of many sequences on a few threads of their own: none waits for a slow one."""

import logging
import os
import threading
from collections.abc import Callable
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
# Beside that of the costly searches; each takes a core from the model.
_NUM_THREADS: Final = max(2, min(4, os.cpu_count() or 2))

Result = SearchResult | UnavailableError
# A search of a sequence; or a context that is searched no more; or None, for a thread to end.
_Order = tuple[int, SearchRequest] | str | None


class SearchWorker:
    """A SearchQueue. `post` is called on one of its threads, with results as they are ready.

    A call of the retriever carries what has gathered while all threads were searching, at most
    `Retriever.max_requests`. Costly searches are made one after another on a thread of their own:
    only their like waits for them.
    """

    def __init__(
        self, retriever: Retriever, post: Callable[[list[tuple[int, Result]]], None]
    ) -> None:
        self._retriever = retriever
        self._post = post
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._costly: SimpleQueue[tuple[int, SearchRequest] | None] = SimpleQueue()
        # Contexts that are searched, until they are forgotten. Changed by the caller alone.
        self._contexts: set[str] = set()
        self._is_closing = False
        work = [*[self._run] * _NUM_THREADS, self._run_costly]
        self._threads = [
            threading.Thread(target=run, name=f"searches-{number}", daemon=True)
            for number, run in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        """See SearchQueue.submit."""
        self._contexts.add(request.context_id)
        self._orders.put((sequence_id, request))

    def forget(self, context_id: str) -> None:
        """See SearchQueue.forget. A search in it that has not begun is not made."""
        self._contexts.discard(context_id)
        self._orders.put(context_id)

    def close(self) -> None:
        """Drops what waits, lets go of the retriever, and waits for searches under way."""
        self._is_closing = True
        for _ in range(_NUM_THREADS):
            self._orders.put(None)
        self._costly.put(None)
        self._retriever.shutdown()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            batch: list[tuple[int, SearchRequest]] = []
            while isinstance(order, tuple):
                if order[1].context_id in self._contexts:
                    if self._is_costly(order[1]):
                        self._costly.put(order)
                    else:
                        batch.append(order)
                order = self._next() if len(batch) < self._retriever.max_requests else None
            self._make(batch)
            if isinstance(order, str):
                self._forget(order)

    def _run_costly(self) -> None:
        while (search := self._costly.get()) is not None:
            if search[1].context_id in self._contexts:
                self._make([search])

    def _is_costly(self, request: SearchRequest) -> bool:
        try:
            return self._retriever.is_costly(request)
        except Exception:  # the search itself will tell; this thread has others to serve
            _log.exception("what a search costs could not be told")
            return False

    def _make(self, batch: list[tuple[int, SearchRequest]]) -> None:
        if batch and not self._is_closing:
            ids, requests = zip(*batch, strict=True)
            results = self._search(requests)
            for request in requests:
                # Closed meanwhile by another thread, and maybe opened again by this search.
                if request.context_id not in self._contexts and not self._is_closing:
                    self._forget(request.context_id)
            self._post([*zip(ids, results, strict=True)])

    def _next(self) -> _Order:
        try:
            order = self._orders.get_nowait()
        except Empty:
            return None
        if order is None:
            self._orders.put(None)  # for this thread, once it is done
        return order

    def _search(self, requests: tuple[SearchRequest, ...]) -> list[Result]:
        try:
            results: list[Result] = [*self._retriever.search(requests)]
            if len(results) != len(requests):
                raise ValueError(f"{len(results)} results for {len(requests)} searches")
            return results
        except RetrieverUnavailableError as error:
            return [UnavailableError(f"retrieval: {error}")] * len(requests)
        except Exception as error:  # a sequence must not wait for ever for what went wrong here
            if len(requests) > 1:  # and what one of them makes go wrong is not the others' fault
                return [result for request in requests for result in self._search((request,))]
            _log.exception("a search failed")
            return [UnavailableError(f"retrieval failed: {error!r}")] * len(requests)

    def _forget(self, context_id: str) -> None:
        try:
            self._retriever.close_contexts([context_id])
        except RetrieverUnavailableError:
            pass  # contexts expire by themselves
        except Exception:
            _log.exception("context %s could not be closed", context_id)
