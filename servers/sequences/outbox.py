"""What one sequence has produced and nobody has been sent yet, joined into few events."""

from harnessapi.values import Part

from harness_servers.checkpoints.codec import TextStream
from harness_servers.generation import Delta, Event


class Outbox:
    """Collects tokens into one Delta until the part changes, an event comes, or it is sent."""

    def __init__(self, stream: TextStream) -> None:
        self.part = Part.REASONING
        self._stream = stream
        self._events: list[Event] = []
        self._ids: list[int] = []
        self._texts: list[str] = []
        self._num_read = 0  # tokens of _ids whose text is in _texts

    def add(self, token: int) -> None:
        """A token whose text is made when it is sent: the cheap way, called once a token."""
        self._ids.append(token)

    def add_with_text(self, token: int, text: str) -> None:
        """A token with the text that goes with it (none, or that of earlier ones held back)."""
        self._read_texts()
        self._ids.append(token)
        self._num_read += 1
        self._texts.append(text)

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
        read = self._stream.read
        self._texts += [read(token) for token in self._ids[self._num_read :]]
        self._num_read = len(self._ids)

    def _close(self) -> None:
        if not self._ids and not self._texts:
            return
        self._read_texts()
        self._events.append(
            Delta(part=self.part, text="".join(self._texts), token_ids=tuple(self._ids))
        )
        self._ids, self._texts, self._num_read = [], [], 0
