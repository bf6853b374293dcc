"""Listens for HTTP, and ends in order: what is under way has some seconds to be answered."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn
from harnessapi.rpc.targets import Target
from starlette.types import ASGIApp

from harness.errors import InputError

_GRACE_S: Final = 5
_BACKLOG: Final = 2048


class _QuietServer(uvicorn.Server):
    """Leaves the signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


@contextlib.contextmanager
def bound(target: Target) -> Iterator[socket.socket]:
    """A socket that listens there. Raises InputError where that cannot be."""
    try:
        if target.socket_path is not None:
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(target.socket_path)
            listening.listen(_BACKLOG)
        else:
            is_six = ":" in target.host
            family = socket.AF_INET6 if is_six else socket.AF_INET
            place = (target.host, target.port)
            listening = socket.create_server(place, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(f"cannot listen on {target}: {error.strerror or error}") from None
    try:
        yield listening
    finally:
        listening.close()
        if target.socket_path is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target.socket_path)


def address(target: Target, listening: socket.socket) -> str:
    """What a client is told as the base URL, with the port that was found."""
    if target.socket_path is not None:
        return str(target)
    return f"http://{target.name.rpartition(':')[0]}:{listening.getsockname()[1]}/v1"


async def listen(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serves until it is cancelled; `ready` is called once it takes requests."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        if server.started:
            ready()
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
