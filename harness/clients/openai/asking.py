"""Asks for one completion turn by turn, whoever writes them, and makes the searches between."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager

from harness.clients.completion import Completion
from harness.clients.faults import AttemptError, DeadlineError, TransientError
from harness.clients.model_client import Attempts, Watch
from harness.clients.openai.chunk import Chunk
from harness.clients.openai.dialogue import Dialogue, Search
from harness_retrieval.types import Retriever, RetrieverUnavailableError, SearchRequest

# Has the dialogue's next turn written, or raises AttemptError.
Write = Callable[[Dialogue, Watch], Awaitable[None]]


class Asking:
    """Of one client; `retriever` None: there is no channel."""

    def __init__(self, retriever: Retriever | None, write: Write) -> None:
        self._retriever = retriever
        self._write = write

    @contextmanager
    def attempts(self, dialogue: Dialogue) -> Iterator[Attempts]:
        """As many as it takes: each goes on from the turn that the last failed in."""
        try:
            yield lambda timeout_s, watch: self._attempt(dialogue, timeout_s, watch)
        except DeadlineError as fault:
            # Whoever keeps the time has cut a reply off.
            fault.raw = dialogue.recent()
            raise
        finally:
            if dialogue.has_searched and self._retriever is not None:
                self._retriever.close_contexts([dialogue.context_id])

    async def _attempt(
        self, dialogue: Dialogue, timeout_s: float | None, watch: Watch
    ) -> Completion:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout_s):
                while dialogue.finish_reason is None:
                    if dialogue.due is None:
                        await watch.sending()
                        await self._write(dialogue, watch)
                    if dialogue.due is not None:
                        await self._search(dialogue, dialogue.due)
        except TimeoutError:
            raise DeadlineError("DEADLINE_EXCEEDED", f"not done after {timeout_s} s") from None
        finally:
            dialogue.total_ms += (time.perf_counter() - began) * 1e3
        return dialogue.completion()

    async def _search(self, dialogue: Dialogue, search: Search) -> None:
        began = time.perf_counter()
        result = search
        if isinstance(result, SearchRequest):
            if self._retriever is None:
                raise AttemptError("NO_RETRIEVER", "a search was asked for without a channel")
            try:
                [result] = await asyncio.to_thread(self._retriever.search, [result])
            except RetrieverUnavailableError as error:
                raise TransientError("UNAVAILABLE", str(error)) from None
        dialogue.insert(result, (time.perf_counter() - began) * 1e3)


async def read_turn(
    dialogue: Dialogue,
    chunks: AsyncIterator[Chunk],
    sent: float,
    watch: Watch,
    *,
    is_done: Callable[[], bool],
) -> None:
    """Up to the end, or to a search where the server sends the end marker itself.

    `sent`: when the turn was asked for, by time.perf_counter. `is_done`: whether the stream said
    that it has ended, once it is read.
    """
    turn = dialogue.begin_turn()
    search = None
    async for chunk in chunks:
        watch.heard()
        text = turn.add(chunk)
        # An empty first chunk is not a token.
        if chunk.text or chunk.reasoning:
            elapsed_ms = (time.perf_counter() - sent) * 1e3
            turn.intervals.add(1, elapsed_ms)
            if dialogue.ttft_ms is None:
                dialogue.ttft_ms = elapsed_ms
        search = dialogue.feed(text)
        if search is not None:
            break
    turn.is_done = is_done()
    dialogue.end_turn(turn, search)
