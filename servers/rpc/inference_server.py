"""Serves a backend: what of it is a process, and its life from loading to a signal."""

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Final

from harnessapi.inference.v1 import inference_pb2, inference_pb2_grpc
from harnessapi.observing.logs import LogFormat
from harnessapi.observing.observed import UNOBSERVED, Observing
from harnessapi.observing.traces import is_tracing
from harnessapi.rpc.listening import FOR_EVERYBODY, Listening
from harnessapi.rpc.server import FAILURE_LINGER_S, RpcServer, stopped_by_signal
from harnessapi.rpc.targets import Target

from harness_servers.backends.backend import Backend
from harness_servers.backends.hosting import Hosting, make_backend, plain_hosting
from harness_servers.generation import MAX_NEW_TOKENS
from harness_servers.rpc.completion_log import log_completion, trace_searches
from harness_servers.rpc.completion_metrics import CompletionMetrics
from harness_servers.rpc.inference_servicer import Follower, InferenceServicer
from harness_servers.rpc.request_checks import max_request_bytes

SERVICE: Final = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name


def host(
    hosting: Hosting,
    target: Target,
    *,
    listening: Listening = FOR_EVERYBODY,
    observing: Observing = UNOBSERVED,
    ready: Callable[[Target], None],
) -> bool:
    """Serves a checkpoint until SIGINT or SIGTERM (True), or until its engine has died (False).

    Raises CheckpointError, MissingExtraError, TargetError.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # While it loads; the event loop then has a way of its own.
        signal.signal(number, _stop)
    with plain_hosting(hosting) as plain:
        backend = make_backend(plain)
        # What start-up made stays: without this a full collection would look at all of it again.
        gc.collect()
        gc.freeze()

        async def until_signal() -> bool:
            return await serve(
                backend,
                target,
                max_new_tokens=hosting.max_new_tokens,
                listening=listening,
                observing=observing,
                stopped=stopped_by_signal(),
                ready=ready,
            )

        return asyncio.run(until_signal())


def _stop(*_: object) -> None:
    raise SystemExit(0)


async def serve(
    backend: Backend,
    target: Target,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    listening: Listening = FOR_EVERYBODY,
    observing: Observing = UNOBSERVED,
    stopped: asyncio.Event,
    ready: Callable[[Target], None],
    linger_s: float = FAILURE_LINGER_S,
) -> bool:
    """Serves until `stopped` is set (True), or until the backend has failed (False); closes it.

    Healthy only while the backend is warm and alive; after it failed, the server still says so for
    `linger_s`, or until `stopped`. Raises TargetError.
    """
    server = RpcServer(
        SERVICE,
        max_request_bytes=max_request_bytes(backend.description),
        listening=listening,
        observing=observing,
    )
    servicer = InferenceServicer(
        backend, max_new_tokens=max_new_tokens, followers=_followers(observing, backend)
    )
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server.grpc_server)
    bound = server.listen(target)
    try:
        return await server.run(
            start=backend.start,
            stopped=stopped,
            ready=lambda: ready(bound),
            wait_failed=backend.wait_failed,
            linger_s=linger_s,
        )
    finally:
        await backend.close()


def _followers(observing: Observing, backend: Backend) -> list[Follower]:
    followers: list[Follower] = []
    if observing.metrics is not None:
        followers.append(CompletionMetrics(observing.metrics, backend).follow)
    if observing.log_format is LogFormat.JSON:
        followers.append(log_completion)
    if is_tracing():
        followers.append(trace_searches)
    return followers
