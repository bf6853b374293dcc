"""The texts of open contexts, as the service keeps them. Thread-safe."""

import time
from collections.abc import Callable, Iterable
from sys import getsizeof
from typing import Final

from harness_retrieval.contexts.recent_contexts import ContextLimits, RecentContexts
from harness_retrieval.errors import ContextNotFoundError, ContextTooLongError, InvalidArgumentError
from harness_retrieval.limits import MAX_CONTEXT_CHARACTERS, MAX_CONTEXT_ID_CHARACTERS

# Bytes of texts; ids are short.
LIMITS: Final = ContextLimits(max_total_size=256_000_000, expires_after_s=600)


class ContextStore:
    """Texts by context id; `expires_after_s` without use they are forgotten."""

    def __init__(
        self, limits: ContextLimits = LIMITS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.expires_after_s = limits.expires_after_s
        self._texts: RecentContexts[str] = RecentContexts(limits, clock)

    def open(self, context_id: str, text: str) -> None:
        """Begins a context, or begins it anew where it holds another text.

        Raises InvalidArgumentError, ContextTooLongError.
        """
        if not context_id:
            raise InvalidArgumentError("the context id is empty")
        if len(context_id) > MAX_CONTEXT_ID_CHARACTERS:
            raise InvalidArgumentError(
                f"a context id has {len(context_id)} characters, over {MAX_CONTEXT_ID_CHARACTERS}"
            )
        _check_length(context_id, len(text))
        with self._texts.lock:
            held = self._texts.get(context_id)
            if held is None or not held.startswith(text):  # else more of it was sent already
                self._texts.put(context_id, text, _num_bytes(text))

    def append(self, context_id: str, offset: int, appended: str) -> str:
        """The text up to the end of `appended`, which stands at `offset`; kept if it is new.

        The same call again changes nothing. Raises ContextNotFoundError where the context is not
        held, ends before `offset`, or holds something else there; ContextTooLongError.
        """
        end = offset + len(appended)
        _check_length(context_id, end)
        with self._texts.lock:
            text = self._texts.get(context_id)
            if text is None or offset > len(text):
                raise ContextNotFoundError(context_id)
            held = text[offset:end]
            if not appended.startswith(held):
                raise ContextNotFoundError(context_id)  # opened again by someone else
            if new := appended[len(held) :]:
                text += new
                self._texts.put(context_id, text, _num_bytes(text))
            return text[:end]

    def close(self, context_ids: Iterable[str]) -> None:
        """Forgets contexts; unknown ids are ignored."""
        self._texts.forget(context_ids)

    @property
    def num_bytes(self) -> int:
        """Of all texts."""
        return self._texts.total_size

    def __len__(self) -> int:
        return len(self._texts)


def _check_length(context_id: str, num_characters: int) -> None:
    if num_characters > MAX_CONTEXT_CHARACTERS:
        raise ContextTooLongError(context_id, num_characters, MAX_CONTEXT_CHARACTERS)


def _num_bytes(text: str) -> int:
    """What the characters take: one to four bytes each, by the widest of them."""
    return getsizeof(text) - getsizeof("") if text.isascii() else getsizeof(text)
