"""A real retrieval service on a Unix socket, in a thread with an event loop of its own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harnessapi.rpc.targets import Target, parse_target

from harness_retrieval.contexts.context_store import LIMITS
from harness_retrieval.contexts.recent_contexts import ContextLimits
from harness_retrieval.service import serve


class RunningService:
    def __init__(self, address: str, limits: ContextLimits) -> None:
        self.address = address
        self._stopped = asyncio.Event()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(limits,))
        self._thread.start()
        assert self._ready.wait(600)

    def _run(self, limits: ContextLimits) -> None:
        def ready(_: Target) -> None:
            self._ready.set()

        work = serve(
            parse_target(self.address),
            limits=limits,
            stopped=self._stopped,
            ready=ready,
        )
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(work)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(600)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[Callable[..., RunningService]]:
    services: list[RunningService] = []

    def start(limits: ContextLimits = LIMITS) -> RunningService:
        address = f"unix:{tmp_path}/s.sock"
        services.append(RunningService(address, limits))
        return services[-1]

    yield start
    for service in services:
        service.stop()
