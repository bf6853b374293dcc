"""Makes the searches of many sequences in few calls, on a thread of its own."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from harness_retrieval.types import (
    Retriever,
    RetrieverUnavailableError,
    SearchRequest,
    SearchResult,
)
from harness_servers.errors import UnavailableError

_log = logging.getLogger(__name__)

Result = SearchResult | UnavailableError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    sequence_id: int
    request: SearchRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class _Forget:
    context_id: str


class SearchWorker:
    """A SearchQueue: while one batch is searched, the next one gathers."""

    def __init__(
        self, retriever: Retriever, post: Callable[[list[tuple[int, Result]]], None]
    ) -> None:
        self._retriever = retriever
        self._post = post
        self._queue: SimpleQueue[_Search | _Forget | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="searches", daemon=True)
        self._thread.start()

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        """See SearchQueue.submit."""
        self._queue.put(_Search(sequence_id=sequence_id, request=request))

    def forget(self, context_id: str) -> None:
        """See SearchQueue.forget."""
        self._queue.put(_Forget(context_id=context_id))

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends the thread once what was handed in is done, and lets go of the retriever."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        self._retriever.shutdown()

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            try:
                while True:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            searches = [item for item in batch if isinstance(item, _Search)]
            if searches:
                self._post(self._search(searches))
            forgotten = [item.context_id for item in batch if isinstance(item, _Forget)]
            if forgotten:
                self._forget(forgotten)
            if None in batch:
                return

    def _search(self, searches: list[_Search]) -> list[tuple[int, Result]]:
        results: list[Result]
        try:
            results = [*self._retriever.search([search.request for search in searches])]
        except RetrieverUnavailableError as error:
            results = [UnavailableError(f"retrieval: {error}")] * len(searches)
        except Exception as error:  # a sequence must not wait for ever for what went wrong here
            _log.exception("a search failed")
            results = [UnavailableError(f"retrieval failed: {error!r}")] * len(searches)
        return [(s.sequence_id, result) for s, result in zip(searches, results, strict=True)]

    def _forget(self, context_ids: list[str]) -> None:
        try:
            self._retriever.close_contexts(context_ids)
        except RetrieverUnavailableError:
            pass  # contexts expire by themselves
        except Exception:
            _log.exception("contexts could not be closed")
