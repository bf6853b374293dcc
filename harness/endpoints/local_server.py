"""A checkpoint served here: started, awaited, started again after a crash, stopped."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.endpoints.client import Client
from harness.endpoints.process import ServerProcess
from harness.errors import HarnessError, InputError, UnreachableError

_START_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.05
_INPUT_ERROR_STATUS: Final = 2

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerPlan:
    """What to start and where it listens. `module` is run as `python -m MODULE CHECKPOINT ...`."""

    label: str
    checkpoint: Path
    module: str
    listen: str
    # The listening address as a client dials it.
    target: str
    log: Path
    max_restarts: int = 3

    @property
    def arguments(self) -> Sequence[str]:
        """The command line after `python -m`."""
        return (self.module, str(self.checkpoint), "--listen", self.listen)

    @property
    def socket(self) -> Path | None:
        """The file of a Unix socket."""
        scheme, _, path = self.listen.partition(":")
        return Path(path) if scheme == "unix" else None


class LocalServer:
    """Keeps one server process running. Everything happens on one event loop."""

    def __init__(self, plan: ServerPlan, say: Say) -> None:
        self.plan = plan
        self.num_restarts = 0
        # Set once it will not come back: why.
        self.gave_up: HarnessError | None = None
        self.is_healthy = False
        self._say = say
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
        await self._start_once()
        self._say(f"{self.plan.label} is ready after {time.monotonic() - began:.1f} s")
        self._watcher = asyncio.create_task(self._watch())

    def request_stop(self) -> None:
        """Asks it to stop, and lets it not come back; `wait_stopped` follows."""
        if self._watcher:
            self._watcher.cancel()
        self.is_healthy = False
        if self._process:
            self._process.terminate()

    def wait_stopped(self) -> None:
        """Blocks until the process is gone."""
        if self._process:
            self._process.wait_stopped()

    async def _start_once(self) -> None:
        socket = self.plan.socket
        if socket is not None:
            # A killed server leaves its socket behind.
            socket.unlink(missing_ok=True)
        await self._refuse_taken_address()
        self._process = ServerProcess(self.plan.arguments, log=self.plan.log)
        client = Client(self.plan.target)
        try:
            await self._await_health(client, self._process)
        finally:
            await client.close()
        self.is_healthy = True

    async def _refuse_taken_address(self) -> None:
        """Whoever listens there already would be taken for our server."""
        host, _, port = self.plan.listen.rpartition(":")
        if self.plan.socket is not None:
            return
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            return
        writer.close()
        raise InputError(f"{self.plan.label}: address {self.plan.listen} is in use")

    async def _await_health(self, client: Client, process: ServerProcess) -> None:
        end = time.monotonic() + _START_TIMEOUT_S
        while not await client.is_serving():
            if process.exit_status is not None:
                raise self._died(process)
            if time.monotonic() > end:
                process.terminate()
                raise UnreachableError(
                    f"{self.plan.label} was not ready after {_START_TIMEOUT_S:.0f} s:\n"
                    f"{process.log_tail()}"
                )
            await asyncio.sleep(_POLL_S)

    def _died(self, process: ServerProcess) -> HarnessError:
        status, tail = process.exit_status, process.log_tail()
        if status == _INPUT_ERROR_STATUS:
            return InputError(f"{self.plan.label} did not start: {tail}")
        return UnreachableError(f"{self.plan.label} ended with status {status}:\n{tail}")

    async def _watch(self) -> None:
        while self.gave_up is None:
            await asyncio.sleep(_POLL_S)
            if self._process is not None and self._process.exit_status is not None:
                self.is_healthy = False
                await self._restart(self._process)

    async def _restart(self, process: ServerProcess) -> None:
        label, allowed = self.plan.label, self.plan.max_restarts
        died = self._died(process)
        if self.num_restarts >= allowed:
            self.gave_up = died
            self._say(f"{label} stopped again after {allowed} restarts; it is given up")
            return
        self.num_restarts += 1
        self._say(
            f"{label} stopped with status {process.exit_status}; "
            f"starting it again ({self.num_restarts} of {allowed})"
        )
        try:
            await self._start_once()
        except InputError as error:
            self.gave_up = error
        except UnreachableError as error:
            # The next round of the watch finds it dead, and counts it.
            self._say(str(error))
        else:
            self._say(f"{label} is back")
