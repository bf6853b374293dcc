"""Searches again what servers say that they found: on one thread, beside the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self

from harnessapi.devices import CPU
from harnessapi.programs import MissingExtraError, require_extra
from harnessapi.values import Markers
from msgspec.structs import replace

from harness.clients.completion import Completion, CompletionRequest, SearchCheck
from harness.clients.grpc_client import max_inserted_tokens
from harness.clients.search_replay import CONTEXT_ID, check_searches
from harness_retrieval.types import SearchRequest, SearchResult

# Of one completion: ten seconds for patterns that are made to be slow, and a thousand searches in
# ten thousand characters for those that are not.
_MAX_WORK_NS: Final = 10_000_000_000


class SearchChecks:
    """Of one session. Nothing of the search is imported before the first check.

    `say` is told once where it is not installed: then nothing is checked, and that is counted.
    """

    def __init__(self, say: Callable[[str], None], *, max_work_ns: int = _MAX_WORK_NS) -> None:
        self._say = say
        self._max_work_ns = max_work_ns
        self._retriever: Any = None
        self._missing: str | None = None
        self._has_said = False
        self._is_closed = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="searching-again")

    def __enter__(self) -> Self:
        """As it is."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """A check that runs ends after its search."""
        self._is_closed.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def checked(
        self, completion: Completion, request: CompletionRequest, markers: Markers | None
    ) -> Completion:
        """The completion with its check, where it may hold searches."""
        if request.mode is None or markers is None:
            return completion
        loop = asyncio.get_running_loop()
        check = await loop.run_in_executor(self._thread, self._check, completion, request, markers)
        if self._missing and not self._has_said:
            self._has_said = True
            self._say(f"searches are not checked: {self._missing}")
        return replace(completion, search_check=check)

    def _check(
        self, completion: Completion, request: CompletionRequest, markers: Markers
    ) -> SearchCheck:
        self._open()
        left_ns = self._max_work_ns

        def search(asked: SearchRequest) -> SearchResult | None:
            nonlocal left_ns
            if self._retriever is None or self._is_closed.is_set():
                return None
            left_ns -= self._retriever.work(asked)
            if left_ns < 0:
                return None
            [result] = self._retriever.search([asked])
            found: SearchResult = result
            return found

        try:
            return check_searches(
                completion,
                request,
                markers,
                search,
                max_inserted_tokens=max_inserted_tokens(request.prompt),
            )
        finally:
            if self._retriever is not None:
                self._retriever.close_contexts([CONTEXT_ID])

    def _open(self) -> None:
        if self._retriever is not None or self._missing is not None:
            return
        try:
            require_extra("retrieval", "checking searches")
            from harness_retrieval.local import LocalRetriever  # noqa: PLC0415
        except (MissingExtraError, ImportError) as error:
            self._missing = str(error)
        else:
            self._retriever = LocalRetriever(device=CPU)
