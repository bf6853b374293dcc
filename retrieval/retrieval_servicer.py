"""RetrievalService: reads messages, searches on threads, writes messages. Raises domain errors."""

# Names and arguments are gRPC's; what each call does stands in retrieval.proto.
# ruff: noqa: N802, D102, ARG002

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.enums import MODES
from harnessapi.values import Mode

from harness_retrieval.contexts.context_store import ContextStore
from harness_retrieval.errors import (
    ContextNotFoundError,
    ContextTooLongError,
    DeadlinePassedError,
    InvalidArgumentError,
)
from harness_retrieval.limits import MAX_CLOSED_CONTEXTS, MAX_QUERIES
from harness_retrieval.types import Retriever, SearchAbandonedError, SearchRequest, SearchResult
from harness_retrieval.wire import request_from_wire, result_to_wire

# Is told of every search that is done, on the event loop.
SearchFollower = Callable[[pb.ContextQuery, Mode, pb.ContextResult], None]
_T = TypeVar("_T")


class RetrievalServicer(pb_grpc.RetrievalServiceServicer):
    """One method a call; all work is done on `executor`, none on the event loop.

    Costly searches have threads of their own, so that only their like waits for them.
    """

    def __init__(
        self,
        *,
        contexts: ContextStore,
        retriever: Retriever,
        executor: ThreadPoolExecutor,
        costly_executor: ThreadPoolExecutor,
        followers: Sequence[SearchFollower] = (),
    ) -> None:
        self._contexts = contexts
        self._retriever = retriever
        self._executor = executor
        self._costly_executor = costly_executor
        self._followers = followers

    async def OpenContext(self, request: pb.OpenContextRequest, context: Any) -> Any:
        await self._run(self._contexts.open, request.context_id, request.text)
        return pb.OpenContextResponse(expires_after_s=self._contexts.expires_after_s)

    async def SearchContexts(self, request: pb.SearchContextsRequest, context: Any) -> Any:
        if len(request.queries) > MAX_QUERIES:
            raise InvalidArgumentError(
                f"the call has {len(request.queries)} queries, over {MAX_QUERIES}"
            )
        modes = [MODES.member(query.mode) for query in request.queries]
        if None in modes:
            raise InvalidArgumentError(f"query {modes.index(None)} names no known mode")
        known = [mode for mode in modes if mode is not None]
        asked = await self._run(self._read, request.queries, known, _deadline_ns(context))
        try:
            results = await asyncio.gather(*map(self._answer, asked))
        except SearchAbandonedError as error:
            raise DeadlinePassedError(str(error)) from None
        for follower in self._followers:
            for query, mode, result in zip(request.queries, known, results, strict=True):
                follower(query, mode, result)
        return pb.SearchContextsResponse(results=results)

    async def CloseContexts(self, request: pb.CloseContextsRequest, context: Any) -> Any:
        if len(request.context_ids) > MAX_CLOSED_CONTEXTS:
            raise InvalidArgumentError(
                f"the call names {len(request.context_ids)} contexts, over {MAX_CLOSED_CONTEXTS}"
            )
        await self._run(self._contexts.close, request.context_ids)
        await self._run(self._retriever.close_contexts, request.context_ids)
        return pb.CloseContextsResponse()

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    def _read(
        self, queries: Sequence[pb.ContextQuery], modes: Sequence[Mode], deadline_ns: int | None
    ) -> list[SearchRequest | pb.ContextResult]:
        """Appends what was sent, in order; a result where there is nothing to search."""
        pairs = zip(queries, modes, strict=True)
        return [self._read_one(query, mode, deadline_ns) for query, mode in pairs]

    def _read_one(
        self, query: pb.ContextQuery, mode: Mode, deadline_ns: int | None
    ) -> SearchRequest | pb.ContextResult:
        try:
            text = self._contexts.append(query.context_id, query.offset, query.appended_text)
        except ContextNotFoundError as error:
            outcome = pb.SEARCH_OUTCOME_CONTEXT_NOT_FOUND
            return pb.ContextResult(outcome=outcome, detail=str(error))
        except ContextTooLongError as error:
            return pb.ContextResult(outcome=pb.SEARCH_OUTCOME_TOO_COSTLY, detail=str(error))
        return request_from_wire(query, mode=mode, text=text, deadline_ns=deadline_ns)

    async def _answer(self, asked: SearchRequest | pb.ContextResult) -> pb.ContextResult:
        if isinstance(asked, pb.ContextResult):
            return asked
        results = await self._run(self._search_if_cheap, asked)
        if results is None:
            loop = asyncio.get_running_loop()
            search = self._retriever.search
            results = await loop.run_in_executor(self._costly_executor, search, [asked])
        return result_to_wire(results[0])

    def _search_if_cheap(self, asked: SearchRequest) -> list[SearchResult] | None:
        return None if self._retriever.is_costly(asked) else self._retriever.search([asked])


def _deadline_ns(context: Any) -> int | None:
    """When the call's deadline passes, by time.monotonic_ns."""
    remaining_s = context.time_remaining()
    return None if remaining_s is None else time.monotonic_ns() + int(remaining_s * 1e9)
