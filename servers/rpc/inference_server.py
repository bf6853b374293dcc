"""A gRPC server around one backend: the service, health and reflection, started and stopped."""

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from harnessapi.inference.v1 import inference_pb2, inference_pb2_grpc

from harness_servers.backends.backend import Backend
from harness_servers.rpc.inference_servicer import InferenceServicer
from harness_servers.rpc.status_codes import ErrorInterceptor

SERVICE: Final = inference_pb2.DESCRIPTOR.services_by_name["InferenceService"].full_name
_MAX_MESSAGE_BYTES: Final = 64 * 2**20
_GRACE_S: Final = 2.0
_FAILURE_LINGER_S: Final = 1.0
_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # Two servers on one port would share its calls at random.
    ("grpc.so_reuseport", 0),
    # Clients may ping an idle connection every 30 s without being taken for an attack.
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]


class InferenceServer:
    """Serves from `run` on, on the ports that `grpc_server` was bound to before.

    Healthy only while the backend is warm and alive.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._health = health.aio.HealthServicer()
        self.grpc_server = grpc.aio.server(
            interceptors=[ErrorInterceptor(SERVICE)], options=_OPTIONS
        )
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(
            InferenceServicer(backend), self.grpc_server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)
        reflection.enable_server_reflection(
            (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self.grpc_server
        )

    async def run(self, *, on_serving: Callable[[], None]) -> bool:
        """Serves until SIGINT or SIGTERM (True), or until the backend has failed (False).

        Then says so, lets calls end, and stops the backend.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await self._set_health(is_serving=False)
        await self.grpc_server.start()
        failure = asyncio.create_task(self._backend.wait_failed())
        try:
            starting = asyncio.create_task(self._backend.start())
            await _first(starting, asyncio.create_task(stop.wait()))
            if stop.is_set():
                return True
            await starting
            await self._set_health(is_serving=True)
            on_serving()
            await _first(asyncio.create_task(stop.wait()), failure)
            return stop.is_set()
        finally:
            await self._set_health(is_serving=False)
            if failure.done() and not stop.is_set():
                # Whoever watches the health hears of it before the port is gone.
                await _first(asyncio.create_task(stop.wait()), timeout_s=_FAILURE_LINGER_S)
            await self._health.enter_graceful_shutdown()
            await self.grpc_server.stop(_GRACE_S)
            await self._backend.close()

    async def _set_health(self, *, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for service in ("", SERVICE):
            await self._health.set(service, status.SERVING if is_serving else status.NOT_SERVING)


async def _first(*tasks: asyncio.Task[Any], timeout_s: float | None = None) -> None:
    """Waits for one of the tasks, at most so long, and cancels the others."""
    _, pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
