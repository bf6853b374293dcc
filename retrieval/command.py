"""Runs the retrieval service: `python -m harness_retrieval.command --listen ADDRESS`."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.values import Mode

from harness_retrieval.addresses import Address, AddressError, bind, parse_address
from harness_retrieval.contexts.context_store import LIMITS, ContextStore
from harness_retrieval.contexts.recent_contexts import ContextLimits
from harness_retrieval.local import LocalRetriever
from harness_retrieval.retrieval_servicer import RetrievalServicer
from harness_retrieval.status_codes import ErrorInterceptor
from harness_retrieval.types import SearchRequest
from harness_retrieval.wire import MAX_MESSAGE_BYTES

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
_NUM_THREADS = 4
_GRACE_S = 2.0
_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # or a second server would share the port without an error
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]


async def serve(
    address: Address,
    *,
    limits: ContextLimits = LIMITS,
    stopped: asyncio.Event,
    ready: Callable[[Address], None],
) -> None:
    """Serves until `stopped` is set; calls `ready` once, when healthy, with the address bound.

    Raises AddressError.
    """
    executor = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="search")
    retriever = LocalRetriever()
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=_OPTIONS)
    try:
        servicer = RetrievalServicer(
            contexts=ContextStore(limits), retriever=retriever, executor=executor
        )
        pb_grpc.add_RetrievalServiceServicer_to_server(servicer, server)
        health = _add_health(server)
        bound = bind(server, address)
        await server.start()
        _warm_up(retriever)
        await _report(health, health_pb2.HealthCheckResponse.SERVING)
        ready(bound)
        await stopped.wait()
        await _report(health, health_pb2.HealthCheckResponse.NOT_SERVING)
    finally:
        await server.stop(_GRACE_S)
        executor.shutdown(wait=True)
        retriever.shutdown()


def run(listen: str) -> None:
    """Serves at the address `listen` until SIGINT or SIGTERM; says on stderr when it is healthy.

    Raises AddressError.
    """
    asyncio.run(_serve_until_signal(parse_address(listen)))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Searches contexts.")
    parser.add_argument("--listen", required=True, metavar="ADDRESS", help="unix:/path, host:port")
    parser.add_argument("--corpora", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.corpora is not None:
        sys.stderr.write(f"--corpora {options.corpora} is ignored: standing corpora are gone\n")
    try:
        run(options.listen)
    except AddressError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


async def _serve_until_signal(address: Address) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await serve(address, stopped=stopped, ready=_say_listening)


def _say_listening(address: Address) -> None:
    sys.stderr.write(f"listening on {address}\n")
    sys.stderr.flush()


def _add_health(server: grpc.aio.Server) -> health_aio.HealthServicer:
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    names = (SERVICE_NAME, health_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return health


async def _report(health: health_aio.HealthServicer, status: int) -> None:
    for name in ("", SERVICE_NAME):
        await health.set(name, status)


def _warm_up(retriever: LocalRetriever) -> None:
    """The first search of each mode sets up FAISS and RE2; a caller should not wait for that."""
    for mode in Mode:
        request = SearchRequest(context_id="warm-up", text="a b\nc", mode=mode, query="a")
        retriever.search([request])
    retriever.close_contexts(["warm-up"])


if __name__ == "__main__":
    sys.exit(main())
