"""What the runner needs of a client, over gRPC or HTTP."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Protocol

from harnessapi.values import ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.sample import Prompt


class ModelClient(Protocol):
    """Belongs to the event loop that it was made on."""

    async def close(self) -> None:
        """Lets go of the connection."""
        ...

    async def is_serving(self) -> bool:
        """Whether the server is there, and ready."""
        ...

    async def get_model(self) -> ModelDescription:
        """Raises AttemptError."""
        ...

    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """How long the server finds a prompt; 0 where it does not say. One attempt.

        Raises RefusedError where the server cannot read it, else AttemptError.
        """
        ...

    async def complete(self, request: CompletionRequest, *, timeout_s: float) -> Completion:
        """One attempt. Raises AttemptError: Transient, Deadline, Refused, or neither of them."""
        ...

    def attempts(
        self, request: CompletionRequest
    ) -> AbstractContextManager[Callable[[float], Awaitable[Completion]]]:
        """`complete` as often as it takes: an attempt, given its seconds, may go on from the last.

        No two at once.
        """
        ...
