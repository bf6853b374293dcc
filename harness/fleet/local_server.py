"""A server process of ours: started, awaited, started again after a crash, stopped."""

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from harness.clients.grpc_client import Client
from harness.errors import HarnessError, InputError, UnreachableError
from harness.fleet.plans import ServerPlan
from harness.fleet.process import ServerProcess

_POLL_S: Final = 0.05
_PROBE_EVERY_S: Final = 1.0
_INPUT_ERROR_STATUS: Final = 2
# A server that was up for so long did not crash because of how it was started.
_STABLE_AFTER_S: Final = 60.0
_MAX_BACKOFF_S: Final = 30.0


class Say(Protocol):
    """Tells whoever watches."""

    def __call__(self, text: str, *, is_warning: bool = False) -> None:
        """A phase begins; or, as a warning, something that a user wants to know in any case."""
        ...


class Health(StrEnum):
    """How a server is; all but the last two may become HEALTHY."""

    STARTING = "starting"
    HEALTHY = "healthy"
    # The process is there, and does not say that it is serving.
    UNHEALTHY = "unhealthy"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPED = "stopped"


class LocalServer:
    """Keeps one server process running. Everything happens on one event loop."""

    def __init__(self, plan: ServerPlan, say: Say) -> None:
        self.plan = plan
        self.num_restarts = 0
        # Set once it will not come back: why.
        self.gave_up: HarnessError | None = None
        self.health = Health.STARTING
        self._say = say
        self._num_in_a_row = 0
        self._came_up = time.monotonic()
        self._process: ServerProcess | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Returns once it is healthy, and watches it from then on.

        Raises InputError where the server refuses what it was given, else UnreachableError.
        """
        began = time.monotonic()
        self._say(f"starting {self.plan.label}")
        try:
            await self._start_once()
        except HarnessError:
            self.health = Health.FAILED
            raise
        self._say(f"{self.plan.label} is ready after {time.monotonic() - began:.1f} s")
        self._watcher = asyncio.create_task(self._watch())

    def request_stop(self) -> None:
        """Asks it to stop, and lets it not come back; `wait_stopped` follows."""
        if self._watcher:
            self._watcher.cancel()
        self.health = Health.STOPPED
        if self._process:
            self._process.terminate()

    def wait_stopped(self) -> None:
        """Blocks until the process is gone."""
        if self._process:
            self._process.wait_stopped()

    async def _start_once(self) -> None:
        socket = self.plan.target.socket_path
        if socket is not None:
            # A killed server leaves its socket behind.
            Path(socket).unlink(missing_ok=True)
        await self._refuse_taken_address()
        self._process = ServerProcess(self.plan.command, log=self.plan.log)
        client = Client(self.plan.target)
        try:
            await self._await_health(client, self._process)
        finally:
            await client.close()
        self.health = Health.HEALTHY
        self._came_up = time.monotonic()

    async def _refuse_taken_address(self) -> None:
        """Whoever listens there already would be taken for our server."""
        target = self.plan.target
        if target.socket_path is not None:
            return
        try:
            _, writer = await asyncio.open_connection(target.host, target.port)
        except OSError:
            return
        writer.close()
        raise InputError(f"{self.plan.label}: address {target} is in use")

    async def _await_health(self, client: Client, process: ServerProcess) -> None:
        end = time.monotonic() + self.plan.start_timeout_s
        while not await client.is_serving():
            if process.exit_status is not None:
                raise self._died(process)
            if time.monotonic() > end:
                process.terminate()
                raise UnreachableError(
                    f"{self.plan.label} was not ready after {self.plan.start_timeout_s:.0f} s "
                    f"(start_timeout_s):\n{process.log_tail() or 'its log is empty'}"
                )
            await asyncio.sleep(_POLL_S)

    def _died(self, process: ServerProcess) -> HarnessError:
        status, tail = process.exit_status, process.log_tail()
        if status == _INPUT_ERROR_STATUS:
            return InputError(f"{self.plan.label} did not start: {tail}")
        return UnreachableError(f"{self.plan.label} ended with status {status}:\n{tail}")

    async def _watch(self) -> None:
        client = Client(self.plan.target)
        probed = time.monotonic()
        try:
            while self.gave_up is None:
                await asyncio.sleep(_POLL_S)
                if self._process is not None and self._process.exit_status is not None:
                    await self._restart(self._process)
                    probed = time.monotonic()
                elif time.monotonic() - probed >= _PROBE_EVERY_S:
                    is_serving = await client.is_serving()
                    self.health = Health.HEALTHY if is_serving else Health.UNHEALTHY
                    probed = time.monotonic()
        finally:
            await client.close()

    async def _restart(self, process: ServerProcess) -> None:
        label, allowed = self.plan.label, self.plan.max_restarts
        died = self._died(process)
        if time.monotonic() - self._came_up >= _STABLE_AFTER_S:
            self._num_in_a_row = 0
        if self._num_in_a_row >= allowed:
            self._give_up(died)
            gone = f"{label} stopped again after {allowed} restarts; it is given up"
            self._say(gone, is_warning=True)
            return
        self.health = Health.RESTARTING
        self._num_in_a_row += 1
        self.num_restarts += 1
        self._say(
            f"{label} stopped with status {process.exit_status}; "
            f"starting it again ({self._num_in_a_row} of {allowed})",
            is_warning=True,
        )
        # The first time at once: most crashes come alone.
        await asyncio.sleep(min(_MAX_BACKOFF_S, 0.25 * (2 ** (self._num_in_a_row - 1) - 1)))
        try:
            await self._start_once()
        except InputError as error:
            self._give_up(error)
            self._say(str(error), is_warning=True)
        except UnreachableError as error:
            # The next round of the watch finds it dead, and counts it.
            self._say(str(error), is_warning=True)
        else:
            self._say(f"{label} is back")

    def _give_up(self, reason: HarnessError) -> None:
        self.gave_up = reason
        self.health = Health.FAILED
