"""Commands on their way to an engine: what is sent in one turn of the event loop goes together."""

import asyncio
from collections.abc import Callable, Sequence

from harness_servers.token_source import Command


class CommandBatches:
    """Belongs to the event loop on which commands are sent."""

    def __init__(self, deliver: Callable[[Sequence[Command]], None]) -> None:
        self._deliver = deliver
        self._waiting: list[Command] = []

    def send(self, command: Command) -> None:
        """Returns at once; it is delivered with the others of this turn, in order."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(command)

    def _flush(self) -> None:
        commands, self._waiting = self._waiting, []
        self._deliver(commands)
