"""What the runner needs of a client, over gRPC or HTTP."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import ClassVar, Final, Protocol

from harnessapi.values import ModelDescription

from harness.clients.completion import Completion, CompletionRequest
from harness.sample import Prompt


class Watch(Protocol):
    """Who paces and times an attempt: a client tells it of each request, and of what comes."""

    async def sending(self) -> None:
        """A request is about to be sent, the attempt's first or another: returns in its turn."""
        ...

    def heard(self) -> None:
        """Something of the answer came: its first sign that it is being written, or more."""
        ...


class Unwatched:
    """Nobody does."""

    async def sending(self) -> None:
        """At once."""

    def heard(self) -> None:
        """Nothing."""


UNWATCHED: Final = Unwatched()


def nobody_listens(text: str) -> None:
    """Nothing."""


# One attempt, given its seconds, where it has to keep them itself, and who watches.
Attempts = Callable[[float | None, Watch], Awaitable[Completion]]


class ModelClient(ABC):
    """Belongs to the event loop that it was made on."""

    # The server makes the searches, and tells of them.
    is_searched_by_server: ClassVar[bool] = False

    def __init__(self) -> None:
        # Told what a user wants to know once: a parameter that is left out.
        self.say: Callable[[str], None] = nobody_listens
        # Why it was not serving when it was asked last.
        self.cause = ""
        # It is there, and will not have us: waiting changes nothing.
        self.is_turned_away = False
        # Parameters that the server refused, with its words; they are not sent any more.
        self.refused: dict[str, str] = {}
        # The models that the server lists; empty where it lists none.
        self.listed: tuple[str, ...] = ()

    @abstractmethod
    async def close(self) -> None:
        """Lets go of the connection."""

    @abstractmethod
    async def is_serving(self) -> bool:
        """Whether the server is there, and ready."""

    @abstractmethod
    async def get_model(self) -> ModelDescription:
        """Raises AttemptError."""

    @abstractmethod
    async def count_tokens(self, prompt: Prompt, *, timeout_s: float) -> int:
        """How long the server finds a prompt; 0 where it does not say. One attempt.

        Raises RefusedError where the server cannot read it, else AttemptError.
        """

    @abstractmethod
    def attempts(self, request: CompletionRequest) -> AbstractContextManager[Attempts]:
        """As many as it takes for one completion: an attempt may go on from the last.

        No two at once.
        """

    async def complete(
        self,
        request: CompletionRequest,
        *,
        timeout_s: float | None = None,
        watch: Watch = UNWATCHED,
    ) -> Completion:
        """One attempt; `timeout_s` None: whoever watches ends it by cancelling.

        Raises AttemptError: Transient, Deadline, Refused, Filtered, or none of them.
        """
        with self.attempts(request) as attempt:
            return await attempt(timeout_s, watch)
