"""A gRPC server of ours: one service with health and reflection, from its start to a signal."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from harnessapi.observing.call_metrics import count_calls
from harnessapi.observing.logs import LogFormat, log_calls
from harnessapi.observing.observed import UNOBSERVED, Observing
from harnessapi.observing.traces import start_tracing
from harnessapi.rpc.calls import CallInterceptor
from harnessapi.rpc.interceptor import ErrorInterceptor
from harnessapi.rpc.listening import FOR_EVERYBODY, Listening
from harnessapi.rpc.options import MAX_MESSAGE_BYTES, SERVER_OPTIONS, server_options
from harnessapi.rpc.targets import Target, bind
from harnessapi.rpc.token_interceptor import TokenInterceptor

_GRACE_S: Final = 2.0
FAILURE_LINGER_S: Final = 1.0


def stopped_by_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set, on the running loop."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


class RpcServer:
    """Add the servicer of `service` to `grpc_server`, then `listen`, then `run`.

    Requests of over `max_request_bytes` are RESOURCE_EXHAUSTED before anything reads them.
    """

    def __init__(
        self,
        service: str,
        *,
        max_request_bytes: int = MAX_MESSAGE_BYTES,
        listening: Listening = FOR_EVERYBODY,
        observing: Observing = UNOBSERVED,
    ) -> None:
        """Raises SecurityError."""
        self._names = ("", service)
        self._health = health.aio.HealthServicer()
        self._observing = observing
        self._credentials = listening.server_credentials()
        tokens = listening.accepted_tokens()
        self.grpc_server = grpc.aio.server(
            interceptors=[
                *_watching(service, observing),
                *([] if tokens is None else [TokenInterceptor(tokens)]),
                ErrorInterceptor(service),
            ],
            options=(*server_options(max_request_bytes), *listening.options()),
        )
        # Beside it, for probes that know no token: health and nothing else.
        self._probed = None
        if observing.health is not None:
            self._probed = grpc.aio.server(options=SERVER_OPTIONS)
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._probed)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)
        reflection.enable_server_reflection(
            (service, health.SERVICE_NAME, reflection.SERVICE_NAME), self.grpc_server
        )

    def listen(self, target: Target) -> Target:
        """Opens the port; the target with the port that it got. Raises TargetError."""
        if self._probed is not None and self._observing.health is not None:
            bind(self._probed, self._observing.health)
        return bind(self.grpc_server, target, self._credentials)

    async def run(
        self,
        *,
        start: Callable[[], Awaitable[None]],
        stopped: asyncio.Event,
        ready: Callable[[], None],
        wait_failed: Callable[[], Awaitable[None]] | None = None,
        linger_s: float = FAILURE_LINGER_S,
    ) -> bool:
        """Serves until `stopped` is set (True), or until `wait_failed` returns (False).

        Answers at once, and is healthy once `start` has returned, when `ready` is called. At the
        end it says that it is not, and lets calls end; after a failure it answers for `linger_s`
        more, or until `stopped`.
        """
        await self._report(is_serving=False)
        for server in self._servers():
            await server.start()
        stopping = asyncio.ensure_future(stopped.wait())
        failing = asyncio.ensure_future((wait_failed or asyncio.Event().wait)())
        starting = asyncio.ensure_future(start())
        try:
            await _first(starting, stopping)
            if stopped.is_set():
                return True
            await starting
            await self._report(is_serving=True)
            ready()
            await _first(stopping, failing)
            return stopped.is_set()
        finally:
            await self._report(is_serving=False)
            if failing.done() and not stopped.is_set():
                # Whoever watches the health hears of it before the port is gone.
                await _first(stopping, timeout_s=linger_s)
            for task in (starting, stopping, failing):
                task.cancel()
            await self._health.enter_graceful_shutdown()
            await asyncio.gather(*(server.stop(_GRACE_S) for server in self._servers()))

    def _servers(self) -> list[grpc.aio.Server]:
        return [self.grpc_server, *([] if self._probed is None else [self._probed])]

    async def _report(self, *, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._health.set(name, status.SERVING if is_serving else status.NOT_SERVING)


def _watching(service: str, observing: Observing) -> list[CallInterceptor]:
    """None where nobody looks."""
    listeners = []
    if observing.metrics is not None:
        listeners.append(count_calls(observing.metrics, service))
    if observing.log_format is LogFormat.JSON:
        listeners.append(log_calls())
    name = service.rpartition(".")[2]
    is_traced = start_tracing(name)
    return [CallInterceptor(listeners, service=name)] if listeners or is_traced else []


async def _first(*tasks: "asyncio.Future[Any]", timeout_s: float | None = None) -> None:
    """Returns when one of them is done, or after so long."""
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
