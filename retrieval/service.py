"""The search service as a gRPC server: what it is made of, and how it comes up and goes down."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from harnessapi.devices import AUTO
from harnessapi.observing.logs import LogFormat
from harnessapi.observing.observed import UNOBSERVED, Observing
from harnessapi.observing.traces import is_tracing
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.listening import FOR_EVERYBODY, Listening
from harnessapi.rpc.server import RpcServer, stopped_by_signal
from harnessapi.rpc.targets import Target
from harnessapi.values import Mode

from harness_retrieval.contexts.context_store import LIMITS, ContextStore
from harness_retrieval.contexts.recent_contexts import ContextLimits
from harness_retrieval.limits import MAX_REQUEST_BYTES
from harness_retrieval.local import LocalRetriever
from harness_retrieval.retrieval_servicer import RetrievalServicer, SearchFollower
from harness_retrieval.search_log import log_search, trace_search
from harness_retrieval.search_metrics import SearchMetrics
from harness_retrieval.types import SearchRequest

SERVICE_NAME: Final = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
_NUM_THREADS: Final = 4
_NUM_COSTLY_THREADS: Final = 2


async def serve_until_signal(
    target: Target,
    *,
    device: str,
    listening: Listening,
    observing: Observing,
    ready: Callable[[Target], None],
) -> None:
    """As `serve`, until SIGINT or SIGTERM."""
    await serve(
        target,
        device=device,
        listening=listening,
        observing=observing,
        stopped=stopped_by_signal(),
        ready=ready,
    )


async def serve(
    target: Target,
    *,
    device: str = AUTO,
    limits: ContextLimits = LIMITS,
    listening: Listening = FOR_EVERYBODY,
    observing: Observing = UNOBSERVED,
    stopped: asyncio.Event,
    ready: Callable[[Target], None],
) -> None:
    """Serves until `stopped` is set; calls `ready` once, when healthy, with the target bound.

    Raises TargetError, and DeviceError where vectors cannot be compared on this `device`.
    """
    retriever = LocalRetriever(device=device)
    executor = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="search")
    costly_executor = ThreadPoolExecutor(_NUM_COSTLY_THREADS, thread_name_prefix="costly-search")
    server = RpcServer(
        SERVICE_NAME,
        max_request_bytes=MAX_REQUEST_BYTES,
        listening=listening,
        observing=observing,
    )
    contexts = ContextStore(limits)
    servicer = RetrievalServicer(
        contexts=contexts,
        retriever=retriever,
        executor=executor,
        costly_executor=costly_executor,
        followers=_followers(observing, contexts, retriever),
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
        costly_executor.shutdown(wait=True, cancel_futures=True)
        retriever.shutdown()


def _followers(
    observing: Observing, contexts: ContextStore, retriever: LocalRetriever
) -> list[SearchFollower]:
    followers: list[SearchFollower] = []
    if observing.metrics is not None:
        followers.append(SearchMetrics(observing.metrics, contexts, retriever).take)
    if observing.log_format is LogFormat.JSON:
        followers.append(log_search)
    if is_tracing():
        followers.append(trace_search)
    return followers


def _warm_up(retriever: LocalRetriever) -> None:
    """The first search of each mode sets up FAISS and RE2; a caller should not wait for that."""
    for mode in Mode:
        request = SearchRequest(context_id="warm-up", text="a b\nc", mode=mode, query="a")
        retriever.search([request])
    retriever.close_contexts(["warm-up"])
