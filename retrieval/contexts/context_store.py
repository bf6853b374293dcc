"""The texts of open contexts: bounded in number and size, forgotten when unused. Thread-safe."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness_retrieval.errors import ContextNotFoundError, ContextTooLongError, InvalidArgumentError
from harness_retrieval.limits import MAX_CONTEXT_CHARACTERS


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextLimits:
    """Contexts past a limit are forgotten, those unused for longest first."""

    max_contexts: int = 4096
    max_total_characters: int = 256_000_000
    expires_after_s: float = 600.0


@dataclass(kw_only=True, slots=True)
class _Context:
    text: str
    last_use_s: float


class ContextStore:
    """Contexts by id. `clock` gives monotonic seconds."""

    def __init__(self, limits: ContextLimits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._contexts: OrderedDict[str, _Context] = OrderedDict()  # last used at the end
        self._num_characters = 0

    @property
    def expires_after_s(self) -> float:
        """Seconds without use after which a context is forgotten."""
        return self._limits.expires_after_s

    def open(self, context_id: str, text: str) -> None:
        """Begins a context, or begins it anew where it holds another text.

        Raises InvalidArgumentError, ContextTooLongError.
        """
        if not context_id:
            raise InvalidArgumentError("the context id is empty")
        _check_length(context_id, len(text))
        with self._lock:
            held = self._contexts.get(context_id)
            if held and held.text.startswith(text):
                text = held.text  # someone else has sent more of it already
            self._forget(context_id)
            self._contexts[context_id] = _Context(text=text, last_use_s=self._clock())
            self._num_characters += len(text)
            self._make_room()

    def append(self, context_id: str, offset: int, appended: str) -> str:
        """The text up to the end of `appended`, which stands at `offset`; kept if it is new.

        The same call again changes nothing. Raises ContextNotFoundError where the context is not
        held, ends before `offset`, or holds something else there; ContextTooLongError.
        """
        end = offset + len(appended)
        _check_length(context_id, end)
        with self._lock:
            self._forget_expired()
            context = self._contexts.get(context_id)
            if context is None or offset > len(context.text):
                raise ContextNotFoundError(context_id)
            held = context.text[offset:end]
            if not appended.startswith(held):
                raise ContextNotFoundError(context_id)  # opened again by someone else
            if new := appended[len(held) :]:
                context.text += new
                self._num_characters += len(new)
            context.last_use_s = self._clock()
            self._contexts.move_to_end(context_id)
            text = context.text[:end]
            self._make_room()
            return text

    def close(self, context_ids: Iterable[str]) -> None:
        """Forgets contexts; unknown ids are ignored."""
        with self._lock:
            for context_id in context_ids:
                self._forget(context_id)

    def __len__(self) -> int:
        with self._lock:
            self._forget_expired()
            return len(self._contexts)

    def _forget(self, context_id: str) -> None:
        if context := self._contexts.pop(context_id, None):
            self._num_characters -= len(context.text)

    def _forget_expired(self) -> None:
        oldest_s = self._clock() - self._limits.expires_after_s
        while self._contexts:
            context_id, context = next(iter(self._contexts.items()))
            if context.last_use_s >= oldest_s:
                return
            self._forget(context_id)

    def _make_room(self) -> None:
        self._forget_expired()
        while (
            len(self._contexts) > self._limits.max_contexts
            or self._num_characters > self._limits.max_total_characters
        ):
            self._forget(next(iter(self._contexts)))


def _check_length(context_id: str, num_characters: int) -> None:
    if num_characters > MAX_CONTEXT_CHARACTERS:
        raise ContextTooLongError(context_id, num_characters, MAX_CONTEXT_CHARACTERS)
