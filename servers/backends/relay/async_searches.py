"""Searches that a coroutine can wait for; those of many sequences are still made in few calls."""

import asyncio

from harness_retrieval.types import Retriever, SearchRequest, SearchResult
from harness_servers.errors import UnavailableError
from harness_servers.sequences.search_worker import Result, SearchWorker


class AsyncSearches:
    """Belongs to the event loop on which it was made."""

    def __init__(self, retriever: Retriever) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[Result]] = {}
        self._worker = SearchWorker(retriever, self._post)

    async def search(self, sequence_id: int, request: SearchRequest) -> SearchResult:
        """One search; a sequence waits for one at a time. Raises UnavailableError."""
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting[sequence_id] = future
        try:
            self._worker.submit(sequence_id, request)
            result = await future
        finally:
            del self._waiting[sequence_id]
        if isinstance(result, UnavailableError):
            raise result
        return result

    def forget(self, context_id: str) -> None:
        """This context is searched no more; returns at once."""
        self._worker.forget(context_id)

    async def close(self) -> None:
        """Ends the thread once what was handed in is done."""
        await asyncio.to_thread(self._worker.close)

    def _post(self, results: list[tuple[int, Result]]) -> None:
        """On the searches' thread."""
        self._loop.call_soon_threadsafe(self._resolve, results)

    def _resolve(self, results: list[tuple[int, Result]]) -> None:
        for sequence_id, result in results:
            future = self._waiting.get(sequence_id)
            if future is not None and not future.done():
                future.set_result(result)
