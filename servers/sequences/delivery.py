"""What leaves the engine: news of its sequences, and searches to be made."""

from dataclasses import dataclass, field
from typing import Protocol

from harness_retrieval.types import SearchRequest
from harness_servers.errors import ServingError
from harness_servers.generation import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """News of one sequence. The last one ends with a Finished event, or carries the error."""

    sequence_id: int
    events: list[Event] = field(default_factory=list)
    error: ServingError | None = None
    is_last: bool = False


class SearchQueue(Protocol):
    """Where searches are handed in; the results come back through Engine.take_result."""

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        """Asks for a search; returns at once."""
        ...

    def forget(self, context_id: str) -> None:
        """This context is searched no more; returns at once."""
        ...
