"""What a client has sent of each context, so that it sends only what was added."""

from collections.abc import Iterable
from typing import Final

from harness_retrieval.contexts.recent_contexts import ContextLimits, RecentContexts
from harness_retrieval.types import SearchRequest

# Characters.
_LIMITS: Final = ContextLimits(max_total_size=64_000_000)


class SentTexts:
    """Holds the texts themselves, so that an id which is used for another text is noticed.

    Bounded: a context that is forgotten is opened anew when it comes again. Thread-safe.
    """

    def __init__(self) -> None:
        self._texts: RecentContexts[str] = RecentContexts(_LIMITS)

    def continues(self, request: SearchRequest) -> bool:
        """True where the service was sent this text, or the beginning of it."""
        sent = self._texts.get(request.context_id)
        return sent is not None and _is_same_text(sent, request.text)

    def advance(self, request: SearchRequest) -> int:
        """Where the text not yet sent begins; records that all of it is sent now."""
        with self._texts.lock:
            sent = self._texts.get(request.context_id) or ""
            if not _is_same_text(sent, request.text):
                return 0  # changed meanwhile: the service will notice too, and ask for the text
            if len(request.text) > len(sent):
                self.record(request.context_id, request.text)
            return min(len(sent), len(request.text))

    def record(self, context_id: str, text: str) -> None:
        """Records that the service holds this text."""
        self._texts.put(context_id, text, len(text))

    def forget(self, context_ids: Iterable[str]) -> None:
        """Forgets contexts; unknown ones are ignored."""
        self._texts.forget(context_ids)


def _is_same_text(sent: str, text: str) -> bool:
    return text.startswith(sent) or sent.startswith(text)
