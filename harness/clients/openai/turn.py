"""What one HTTP request brings: the text up to a search, or up to the end."""

from harness.clients.completion import CONTENT_FILTER
from harness.clients.faults import AttemptError, FilteredError, TransientError
from harness.clients.openai.chunk import Chunk

BROKEN_STREAM = "BROKEN_STREAM"
# How a model's reply may end; anything else (a filter, a call of a tool) is no completion.
_ENDS = ("stop", "length")


class Turn:
    """Takes the chunks of one stream in order; reads as soon as it is whole."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.num_prompt: int | None = None
        self._finish_reason: str | None = None
        self._num_counted: int | None = None
        self._num_pieces = 0

    def add(self, chunk: Chunk) -> None:
        """Raises AttemptError for an end that is none."""
        self.text += chunk.text
        self.reasoning += chunk.reasoning
        self._num_pieces += bool(chunk.text or chunk.reasoning)
        if chunk.num_prompt is not None:
            self.num_prompt = chunk.num_prompt
        if chunk.num_generated is not None:
            self._num_counted = chunk.num_generated
        if chunk.finish_reason is not None:
            self._finish_reason = chunk.finish_reason
        if self._finish_reason == CONTENT_FILTER:
            raise FilteredError("HTTP_200", f"it ended with {CONTENT_FILTER!r}")
        if self._finish_reason not in {None, *_ENDS}:
            raise AttemptError("NO_COMPLETION", f"it ended with {self._finish_reason!r}")

    @property
    def is_truncated(self) -> bool:
        """The model would have gone on. Raises TransientError where the stream has no end."""
        if self._finish_reason is None:
            raise TransientError(BROKEN_STREAM, "the stream ended without a finish_reason")
        return self._finish_reason == "length"

    @property
    def num_generated(self) -> int:
        """Tokens as the server counts them, else one for each piece of text."""
        return self._num_pieces if self._num_counted is None else self._num_counted

    @property
    def is_estimated(self) -> bool:
        """The server gave no counts."""
        return self._num_counted is None
