"""What a client has sent of each context, so that it sends only what was added."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from harness_retrieval.types import SearchRequest

_MAX_CONTEXTS = 4096
_MAX_CHARACTERS = 64_000_000


class SentTexts:
    """Holds the texts themselves, so that an id which is used for another text is noticed.

    Bounded: a context that is dropped is opened anew when it comes again. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: OrderedDict[str, str] = OrderedDict()  # last used at the end
        self._num_characters = 0

    def continues(self, request: SearchRequest) -> bool:
        """True where the service was sent this text, or the beginning of it."""
        with self._lock:
            sent = self._texts.get(request.context_id)
        return sent is not None and _is_same_text(sent, request.text)

    def advance(self, request: SearchRequest) -> int:
        """Where the text not yet sent begins; records that all of it is sent now."""
        with self._lock:
            sent = self._texts.get(request.context_id, "")
            if not _is_same_text(sent, request.text):
                return 0  # changed meanwhile: the service will notice too, and ask for the text
            if len(request.text) > len(sent):
                self._record(request.context_id, request.text)
            return min(len(sent), len(request.text))

    def record(self, context_id: str, text: str) -> None:
        """Records that the service holds this text."""
        with self._lock:
            self._record(context_id, text)

    def drop(self, context_ids: Sequence[str]) -> None:
        """Forgets contexts; unknown ones are ignored."""
        with self._lock:
            for context_id in context_ids:
                self._num_characters -= len(self._texts.pop(context_id, ""))

    def _record(self, context_id: str, text: str) -> None:
        self._num_characters += len(text) - len(self._texts.pop(context_id, ""))
        self._texts[context_id] = text
        while len(self._texts) > 1 and (
            len(self._texts) > _MAX_CONTEXTS or self._num_characters > _MAX_CHARACTERS
        ):
            _, oldest = self._texts.popitem(last=False)
            self._num_characters -= len(oldest)


def _is_same_text(sent: str, text: str) -> bool:
    return text.startswith(sent) or sent.startswith(text)
