"""What a servicer drives: our engine, or anything else that makes completions."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from harness_retrieval.channel import Markers
from harness_retrieval.types import Mode
from harness_servers.checkpoints.codec import Encoded
from harness_servers.generation import Event, GenerationRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDescription:
    """What is served; None for a context limit or a search channel that the model does not have."""

    name: str
    family: str
    checkpoint_digest: str
    tokenizer_digest: str
    num_parameters: int
    state_bytes: int
    state_bytes_per_token: int
    context_limit: int | None
    engine: str
    engine_version: str
    dtype: str
    device: str
    vocabulary_size: int
    num_slots: int
    max_prompt_tokens: int
    markers: Markers | None
    modes: tuple[Mode, ...]
    styles: tuple[str, ...]


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
