"""What one sequence has produced and nobody has been sent yet, joined into few events."""

from collections.abc import Sequence

from harnessapi.text.text_stream import TextStream
from harnessapi.values import Part

from harness_servers.generation import Delta, Event, TokenLogProb


class Outbox:
    """Collects tokens into one Delta until the part changes, an event comes, or it is sent."""

    def __init__(self, stream: TextStream, part: Part) -> None:
        self.part = part
        self._stream = stream
        self._events: list[Event] = []
        self._ids: list[int] = []
        self._texts: list[str] = []
        self._num_read = 0  # tokens of _ids whose text is in _texts
        self._num_inserted = 0  # tokens of _ids that nobody generated
        # Of generated tokens, in their order, added before these.
        self._log_probs: list[TokenLogProb] = []

    def add(self, token: int) -> None:
        """A token whose text is made when it is sent: the cheap way, called once a token."""
        self._ids.append(token)

    def add_all(self, tokens: Sequence[int], log_probs: Sequence[TokenLogProb]) -> None:
        """As `add`, of several; with the log-probability of each, or without."""
        self._ids += tokens
        self._log_probs += log_probs

    def add_with_text(self, tokens: Sequence[int], text: str) -> None:
        """Tokens with the text that goes with them (none, or that of earlier ones held back)."""
        self._read_texts()
        self._ids += tokens
        self._num_read += len(tokens)
        self._texts.append(text)

    def add_inserted(self, tokens: Sequence[int], text: str) -> None:
        """Tokens that the model reads and did not generate, with their text."""
        self.add_with_text(tokens, text)
        self._num_inserted += len(tokens)

    def add_log_prob(self, log_prob: TokenLogProb) -> None:
        """Of the generated token that is added next; it is sent with that."""
        self._log_probs.append(log_prob)

    def flush(self) -> None:
        """No text comes after this that belongs to the tokens added so far."""
        self._read_texts()
        self._texts.append(self._stream.flush())

    def add_text(self, text: str) -> None:
        """Text of tokens that were added without it."""
        if text:
            self._read_texts()
            self._texts.append(text)

    def switch(self, part: Part) -> None:
        """What is added from now on belongs to this part."""
        if part is not self.part:
            self._close()
            self.part = part

    def add_event(self, event: Event) -> None:
        """An event that comes after everything added so far."""
        self._close()
        self._events.append(event)

    def take(self) -> list[Event]:
        """Everything that has not been taken yet, in order."""
        self._close()
        events, self._events = self._events, []
        return events

    def _read_texts(self) -> None:
        if self._num_read < len(self._ids):
            self._texts.append(self._stream.read(self._ids[self._num_read :]))
            self._num_read = len(self._ids)

    def _close(self) -> None:
        self._read_texts()
        if not self._ids and not any(self._texts):
            self._texts = []
            return
        num_generated = len(self._ids) - self._num_inserted
        self._events.append(
            Delta(
                part=self.part,
                text="".join(self._texts),
                token_ids=tuple(self._ids),
                log_probs=tuple(self._log_probs[:num_generated]),
            )
        )
        del self._log_probs[:num_generated]
        self._ids, self._texts, self._num_read, self._num_inserted = [], [], 0, 0
