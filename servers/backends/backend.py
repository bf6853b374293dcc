"""What a servicer drives: our engine, or anything else that makes completions."""

from collections.abc import AsyncGenerator
from typing import Protocol

from harnessapi.values import ModelDescription

from harness_servers.checkpoints.codec import Encoded
from harness_servers.generation import Event, GenerationRequest


class Backend(Protocol):
    """One model, asked from one event loop. Errors are of the tree in harness_servers.errors."""

    def describe(self) -> ModelDescription:
        """What is served; answers also before the model is warm."""
        ...

    def tokenize(self, text: str) -> Encoded:
        """The text as token ids. Raises InvalidRequestError, naming an unknown word."""
        ...

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event]:
        """One Started, Deltas and RetrievalSteps, one Finished. Closing it cancels the completion.

        Raises InvalidRequestError, QueueFullError, UnavailableError.
        """
        ...

    async def start(self) -> None:
        """Returns once the model is warm."""
        ...

    async def wait_failed(self) -> None:
        """Returns when the model can no longer answer; never where all is well."""
        ...

    async def close(self) -> None:
        """Ends what is running with UnavailableError and lets go of everything."""
        ...
