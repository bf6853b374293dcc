"""The search service as a gRPC server: what it is made of, and how it comes up and goes down."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.server import RpcServer, stopped_by_signal
from harnessapi.rpc.targets import Target

from harness_retrieval.contexts.context_store import ContextLimits, ContextStore
from harness_retrieval.corpora import Corpora
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.local import LocalRetriever
from harness_retrieval.retrieval_servicer import RetrievalServicer
from harness_retrieval.types import Mode, SearchRequest

SERVICE_NAME: Final = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
_NUM_THREADS: Final = 4


async def serve_until_signal(
    target: Target, *, corpora_dir: Path | None, ready: Callable[[Target], None]
) -> None:
    """As `serve`, until SIGINT or SIGTERM."""
    await serve(
        target,
        corpora_dir=corpora_dir,
        limits=ContextLimits(),
        stopped=stopped_by_signal(),
        ready=ready,
    )


async def serve(
    target: Target,
    *,
    corpora_dir: Path | None,
    limits: ContextLimits,
    stopped: asyncio.Event,
    ready: Callable[[Target], None],
) -> None:
    """Serves until `stopped` is set; calls `ready` once, when healthy, with the target bound.

    Raises TargetError, CorporaUnavailableError.
    """
    embedder = HashingEmbedder()
    corpora = Corpora(corpora_dir, embedder) if corpora_dir else None
    executor = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="search")
    retriever = LocalRetriever(embedder=embedder)
    server = RpcServer(SERVICE_NAME)
    servicer = RetrievalServicer(
        contexts=ContextStore(limits, time.monotonic),
        retriever=retriever,
        corpora=corpora,
        executor=executor,
    )
    pb_grpc.add_RetrievalServiceServicer_to_server(servicer, server.grpc_server)
    try:
        bound = server.listen(target)
        await server.run(
            start=lambda: asyncio.to_thread(_warm_up, retriever),
            stopped=stopped,
            ready=lambda: ready(bound),
        )
    finally:
        executor.shutdown(wait=True)
        retriever.shutdown()
        if corpora:
            corpora.close()


def _warm_up(retriever: LocalRetriever) -> None:
    """The first search of each mode sets up FAISS and RE2; a caller should not wait for that."""
    for mode in Mode:
        request = SearchRequest(context_id="warm-up", text="a b\nc", mode=mode, query="a")
        retriever.search([request])
    retriever.close_contexts(["warm-up"])
