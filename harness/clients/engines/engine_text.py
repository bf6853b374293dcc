"""One streamed turn of token ids as text, up to its end or to where a stop string begins."""

from collections.abc import Collection, Sequence
from typing import Any

from harnessapi.text.stops import StopFinder
from harnessapi.text.text_stream import TextStream
from harnessapi.values import FinishReason

from harness.clients.openai.chunk import Chunk


class EngineText:
    """Takes the responses of one Generate stream in order; `is_over` once there is nothing more.

    A server repeats its last ids where it says why it ended; one that does not stream has them all
    there. Its own count of the prompt goes before `num_prompt`. Stop strings are looked for here
    too: their tokens come with the others, and a server without a tokenizer does not stop at them.
    """

    def __init__(
        self, stream: TextStream, *, num_prompt: int, eos_ids: Collection[int], stops: Sequence[str]
    ) -> None:
        self.is_over = False
        self._stream = stream
        self._num_prompt = num_prompt
        self._eos_ids = eos_ids
        self._stops = StopFinder(stops)
        self._is_stopped = False
        self._num_generated = 0

    def read(self, response: Any) -> Chunk:
        """What a response brings."""
        if response.WhichOneof("response") != "complete":
            self._num_prompt = response.chunk.prompt_tokens or self._num_prompt
            return self._read_ids(response.chunk.token_ids)
        self.is_over = True
        end = response.complete
        self._num_prompt = end.prompt_tokens or self._num_prompt
        text = ""
        if self._num_generated == 0:
            text = self._read_ids(end.output_ids).text
        if not self._is_stopped:
            last, self._is_stopped = self._stops.read(self._stream.flush())
            text += last
        if not self._is_stopped:
            text += self._stops.release()
        reason = FinishReason.STOP if self._is_stopped else end.finish_reason
        return self._chunk(text, reason or FinishReason.STOP)

    def _read_ids(self, token_ids: Sequence[int]) -> Chunk:
        if self._is_stopped:
            # It does not stop there itself.
            self.is_over = True
            return self._chunk("", FinishReason.STOP)
        self._num_generated += len(token_ids)
        text, self._is_stopped = self._stops.read(
            self._stream.read([token for token in token_ids if token not in self._eos_ids])
        )
        return self._chunk(text)

    def _chunk(self, text: str, finish_reason: str | None = None) -> Chunk:
        return Chunk(
            text=text,
            finish_reason=finish_reason,
            num_prompt=self._num_prompt,
            num_generated=self._num_generated,
        )
