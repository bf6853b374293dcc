"""An engine in a process of its own, as a TokenSource. Light: that process alone has torch."""

import asyncio
import atexit
import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final

from harness_servers.engine.command_batches import CommandBatches
from harness_servers.engine.engine_messages import (
    Died,
    EngineMessage,
    Loaded,
    NotLoaded,
    Told,
    Warm,
    decode_message,
    encode,
)
from harness_servers.engine.engine_spec import EngineSpec
from harness_servers.errors import CheckpointError, UnavailableError
from harness_servers.process.orphans import spawned_end_with_us
from harness_servers.token_source import Command, News

# Between its last word and its end.
_END_S: Final = 5.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class EngineProcess:
    """A TokenSource; belongs to the event loop on which `start` was called.

    Ends with this process, however that ends.
    """

    def __init__(self, process: SpawnProcess, connection: Connection, loaded: Loaded) -> None:
        """See `launch`."""
        self.description = loaded.description
        # What the checkpoint says of its tokens; `raw` is left out.
        self.config = loaded.config
        self._process = process
        self._connection = connection
        self._commands = CommandBatches(self._deliver)
        self._listen: Callable[[News], None] = _ignore
        self._is_warm = asyncio.Event()
        self._is_over = asyncio.Event()
        self._why = ""
        atexit.register(process.kill)

    @classmethod
    def launch(cls, spec: EngineSpec) -> "EngineProcess":
        """Returns once the model is loaded; it warms up meanwhile. Raises CheckpointError."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_live, args=(theirs, spec), name="engine", daemon=True)
        try:
            with spawned_end_with_us(), _without_signals():
                process.start()
            theirs.close()
            answer = _first_word(ours, process, spec)
        except BaseException:
            # Ctrl-C too.
            ours.close()
            if process.pid is not None:
                process.kill()
                process.join()
            raise
        return cls(process, ours, answer)

    @property
    def pid(self) -> int | None:
        """Of the engine's process."""
        return self._process.pid

    async def start(self, listen: Callable[[News], None]) -> None:
        """See TokenSource.start. Raises UnavailableError where the engine has died before."""
        self._listen = listen
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._read)
        warm, over = (
            asyncio.ensure_future(event.wait()) for event in (self._is_warm, self._is_over)
        )
        try:
            await asyncio.wait((warm, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            warm.cancel()
            over.cancel()
        if self._is_over.is_set():
            raise UnavailableError(await self.wait_failed())

    def send(self, command: Command) -> None:
        """See TokenSource.send."""
        self._commands.send(command)

    async def wait_failed(self) -> str:
        """See TokenSource.wait_failed."""
        await self._is_over.wait()
        if not self._why:
            await asyncio.to_thread(self._process.join, _END_S)
            self._why = f"the engine died: its process {_how_ended(self._process)}"
        return self._why

    async def close(self) -> None:
        """See TokenSource.close."""
        if self._connection.closed:
            return
        asyncio.get_running_loop().remove_reader(self._connection.fileno())
        self._connection.close()
        # It has nothing to save.
        self._process.kill()
        await asyncio.to_thread(self._process.join)
        atexit.unregister(self._process.kill)

    def _deliver(self, commands: Sequence[Command]) -> None:
        # Of one that is gone `_read` hears.
        with contextlib.suppress(OSError):
            self._connection.send_bytes(encode(commands))

    def _read(self) -> None:
        try:
            message: EngineMessage = decode_message(self._connection.recv_bytes())
        except (EOFError, OSError):  # the latter in the middle of a message
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._is_over.set()
            return
        match message:
            case Told(news):
                self._listen(news)
            case Warm():
                self._is_warm.set()
            case Died(reason):
                self._why = reason
                self._is_over.set()


def _live(connection: Connection, spec: EngineSpec) -> None:
    """In the new process."""
    from harness_servers.engine.engine_child import live  # noqa: PLC0415

    live(connection, spec)


def _first_word(connection: Connection, process: SpawnProcess, spec: EngineSpec) -> Loaded:
    try:
        answer: EngineMessage = decode_message(connection.recv_bytes())
    except (EOFError, OSError):  # the latter in the middle of a message
        process.join()
        raise CheckpointError(
            f"checkpoint {spec.folder}: the process that loads it {_how_ended(process)}"
        ) from None
    match answer:
        case Loaded():
            return answer
        case NotLoaded(reason):
            raise CheckpointError(reason)
    raise TypeError(f"an engine's first word was {answer!r}")


def _how_ended(process: SpawnProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


@contextlib.contextmanager
def _without_signals() -> Iterator[None]:
    """A process that is begun in this block is never interrupted; this one is, behind the block."""
    # It would end the block early.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore(_news: News) -> None:
    pass
