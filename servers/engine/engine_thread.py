"""An engine on a thread of this process: for tests and benchmarks."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Final

from harness_servers.engine.command_batches import CommandBatches
from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_loop import Inbox, run_engine
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.models.protocol import SequenceModel
from harness_servers.token_source import Command, News

_log = logging.getLogger(__name__)
_JOIN_TIMEOUT_S: Final = 5.0


class EngineThread:
    """A TokenSource; belongs to the event loop on which `start` was called."""

    def __init__(self, model: SequenceModel, options: EngineOptions) -> None:
        # Of the thread alone once it has started.
        self.engine = Engine(model, options)
        self._inbox: Inbox = Inbox()
        self._commands = CommandBatches(self._inbox.put)
        self._failed = asyncio.Event()
        self._why = ""
        self._thread: threading.Thread | None = None

    async def start(self, listen: Callable[[News], None]) -> None:
        """See TokenSource.start."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.engine.runner.warm_up)

        def run() -> None:
            try:
                run_engine(
                    self.engine, self._inbox, lambda news: _on_loop(loop, lambda: listen(news))
                )
            except Exception as error:  # whatever it was, the states can no longer be trusted
                _log.exception("the engine died")
                why = f"the engine died: {error!r}"
                _on_loop(loop, lambda: self._fail(why))

        self._thread = threading.Thread(target=run, name="engine", daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        """See TokenSource.send."""
        self._commands.send(command)

    async def wait_failed(self) -> str:
        """See TokenSource.wait_failed."""
        await self._failed.wait()
        return self._why

    async def close(self) -> None:
        """See TokenSource.close."""
        self._inbox.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT_S)

    def _fail(self, why: str) -> None:
        self._why = why
        self._failed.set()


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    # Where it is closed nobody listens any more.
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
