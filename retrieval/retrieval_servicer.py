"""RetrievalService: reads messages, searches on threads, writes messages. Raises domain errors."""

# Names and arguments are gRPC's; what each call does stands in retrieval.proto.
# ruff: noqa: N802, D102, ARG002

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.enums import MODES

from harness_retrieval.contexts.context_store import ContextStore
from harness_retrieval.corpora import Corpora
from harness_retrieval.corpus import CorpusDescription
from harness_retrieval.errors import (
    ContextNotFoundError,
    ContextTooLongError,
    CorporaUnavailableError,
    InvalidArgumentError,
)
from harness_retrieval.types import Mode, Retriever, SearchRequest
from harness_retrieval.wire import request_from_wire, result_to_wire

_DEFAULT_CORPUS_TOP_K = 10
_T = TypeVar("_T")


class RetrievalServicer(pb_grpc.RetrievalServiceServicer):
    """One method a call; all work is done on `executor`, none on the event loop."""

    def __init__(
        self,
        *,
        contexts: ContextStore,
        retriever: Retriever,
        corpora: Corpora | None,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._contexts = contexts
        self._retriever = retriever
        self._corpora = corpora
        self._executor = executor

    async def OpenContext(self, request: pb.OpenContextRequest, context: Any) -> Any:
        await self._run(self._contexts.open, request.context_id, request.text)
        return pb.OpenContextResponse(expires_after_s=self._contexts.expires_after_s)

    async def SearchContexts(self, request: pb.SearchContextsRequest, context: Any) -> Any:
        modes = [MODES.member(query.mode) for query in request.queries]
        if None in modes:
            raise InvalidArgumentError(f"query {modes.index(None)} names no known mode")
        known = [mode for mode in modes if mode is not None]
        results = await self._run(self._search_contexts, request.queries, known)
        return pb.SearchContextsResponse(results=results)

    async def CloseContexts(self, request: pb.CloseContextsRequest, context: Any) -> Any:
        await self._run(self._contexts.close, request.context_ids)
        await self._run(self._retriever.close_contexts, request.context_ids)
        return pb.CloseContextsResponse()

    async def CreateCorpus(self, request: pb.CreateCorpusRequest, context: Any) -> Any:
        description = await self._run(self._kept_corpora().create, request.name)
        return pb.CreateCorpusResponse(corpus=_corpus_to_wire(description))

    async def AddPassages(self, request: pb.AddPassagesRequest, context: Any) -> Any:
        description = await self._run(self._kept_corpora().add, request.name, request.passages)
        return pb.AddPassagesResponse(corpus=_corpus_to_wire(description))

    async def SearchCorpus(self, request: pb.SearchCorpusRequest, context: Any) -> Any:
        top_k = request.top_k if request.HasField("top_k") else _DEFAULT_CORPUS_TOP_K
        search = self._kept_corpora().search
        hits_by_query = await self._run(search, request.name, request.queries, top_k)
        results = [
            pb.CorpusResult(
                hits=[
                    pb.CorpusHit(passage_id=hit.passage_id, text=hit.text, score=hit.score)
                    for hit in hits
                ]
            )
            for hits in hits_by_query
        ]
        return pb.SearchCorpusResponse(results=results)

    async def DescribeCorpus(self, request: pb.DescribeCorpusRequest, context: Any) -> Any:
        description = await self._run(self._kept_corpora().describe, request.name)
        return pb.DescribeCorpusResponse(corpus=_corpus_to_wire(description))

    async def ListCorpora(self, request: pb.ListCorporaRequest, context: Any) -> Any:
        descriptions = await self._run(self._kept_corpora().describe_all)
        return pb.ListCorporaResponse(corpora=map(_corpus_to_wire, descriptions))

    async def DeleteCorpus(self, request: pb.DeleteCorpusRequest, context: Any) -> Any:
        await self._run(self._kept_corpora().delete, request.name)
        return pb.DeleteCorpusResponse()

    async def _run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    def _kept_corpora(self) -> Corpora:
        if self._corpora is None:
            raise CorporaUnavailableError("this server keeps no corpora; start it with --corpora")
        return self._corpora

    def _search_contexts(
        self, queries: Sequence[pb.ContextQuery], modes: Sequence[Mode]
    ) -> list[pb.ContextResult]:
        results: dict[int, pb.ContextResult] = {}
        requests: dict[int, SearchRequest] = {}
        for index, (query, mode) in enumerate(zip(queries, modes, strict=True)):
            try:
                text = self._contexts.append(query.context_id, query.offset, query.appended_text)
            except ContextNotFoundError as error:
                outcome = pb.SEARCH_OUTCOME_CONTEXT_NOT_FOUND
                results[index] = pb.ContextResult(outcome=outcome, detail=str(error))
            except ContextTooLongError as error:
                outcome = pb.SEARCH_OUTCOME_TOO_COSTLY
                results[index] = pb.ContextResult(outcome=outcome, detail=str(error))
            else:
                requests[index] = request_from_wire(query, mode=mode, text=text)
        found = self._retriever.search(list(requests.values()))
        for index, result in zip(requests, found, strict=True):
            results[index] = result_to_wire(result)
        return [results[index] for index in range(len(queries))]


def _corpus_to_wire(description: CorpusDescription) -> pb.Corpus:
    return pb.Corpus(
        name=description.name,
        num_passages=description.num_passages,
        embedder=description.embedder,
        num_dimensions=description.num_dimensions,
        device=description.device,
    )
