"""What one HTTP request brings: the text up to a search, or up to the end."""

from harnessapi.values import FinishReason

from harness.clients.completion import TurnUsage, is_truncation
from harness.clients.faults import BROKEN_STREAM, TransientError
from harness.clients.incoming import Joiner
from harness.clients.openai.chunk import Chunk
from harness.clients.openai.http_errors import error_from_end
from harness.clients.token_intervals import TokenIntervals


class Turn:
    """Takes the chunks of one stream in order; after `end` it reads as a whole.

    `max_tokens`: what was asked for.
    """

    def __init__(self, max_tokens: int) -> None:
        # What the model said, and what the server gave apart from it as reasoning.
        self.text = ""
        self.reasoning = ""
        self.model = ""
        self.fingerprint = ""
        # The stop string that ended it; empty: the server does not say.
        self.stopped_at = ""
        # `[DONE]` came.
        self.is_done = False
        # Of the pieces of text.
        self.intervals = TokenIntervals()
        self._max_tokens = max_tokens
        self._texts: list[str] = []
        self._reasonings: list[str] = []
        self._text_joiner, self._reasoning_joiner = Joiner(), Joiner()
        self._finish_reason: str | None = None
        self._num_prompt: int | None = None
        self._num_counted: int | None = None
        self._num_reasoning: int | None = None
        self._num_pieces = 0

    def add(self, chunk: Chunk) -> str:
        """The model's next text, in whole characters. Raises AttemptError for an end that is none.

        Of counts, names and reasons the last that says something holds.
        """
        text = self._text_joiner.add(chunk.text)
        self._texts.append(text)
        self._reasonings.append(self._reasoning_joiner.add(chunk.reasoning))
        self._num_pieces += bool(chunk.text or chunk.reasoning)
        if chunk.num_prompt is not None:
            self._num_prompt = chunk.num_prompt
        if chunk.num_generated is not None:
            self._num_counted = chunk.num_generated
        if chunk.num_reasoning is not None:
            self._num_reasoning = chunk.num_reasoning
        self.model = chunk.model or self.model
        self.fingerprint = chunk.fingerprint or self.fingerprint
        self.stopped_at = chunk.stopped_at or self.stopped_at
        if chunk.finish_reason is not None:
            self._finish_reason = chunk.finish_reason or self._finish_reason or ""
            fault = error_from_end(chunk.finish_reason)
            if fault is not None:
                raise fault
        return text

    def end(self) -> None:
        """No chunk follows."""
        self.text = "".join(self._texts) + self._text_joiner.end()
        self.reasoning = "".join(self._reasonings) + self._reasoning_joiner.end()

    @property
    def finish_reason(self) -> str:
        """As it came; where `[DONE]` ends a stream of empty ones, what the counts make of it.

        Raises TransientError where the stream has no end.
        """
        if self._finish_reason:
            return self._finish_reason
        if self._finish_reason is None or not self.is_done:
            raise TransientError(
                BROKEN_STREAM, "the stream ended without a finish_reason", is_away=False
            )
        return FinishReason.LENGTH if self.num_generated >= self._max_tokens else ""

    @property
    def is_truncated(self) -> bool:
        """The model would have gone on. Raises TransientError where the stream has no end."""
        return is_truncation(self.finish_reason)

    @property
    def num_prompt(self) -> int:
        """Tokens that were read as the server counts them, else 0."""
        return self._num_prompt or 0

    @property
    def num_generated(self) -> int:
        """Tokens as the server counts them, else one for each piece of text."""
        # Of a text 0 is no count; and what takes no tokens could go on without end.
        return self._num_counted or self._num_pieces

    @property
    def is_estimated(self) -> bool:
        """The server gave no counts."""
        return self._num_counted is None or self._num_counted < min(1, self._num_pieces)

    @property
    def usage(self) -> TurnUsage:
        """What the server says that it took."""
        return TurnUsage(
            num_prompt_tokens=self._num_prompt,
            num_generated_tokens=self._num_counted,
            num_reasoning_tokens=self._num_reasoning,
        )
