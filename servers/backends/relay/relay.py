"""Follows one sequence that a foreign engine writes: from its queue to its Finished event."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from harnessapi.values import FinishReason

from harness_retrieval.types import SearchRequest, SearchResult
from harness_servers.backends.backend import EventStream
from harness_servers.backends.relay.async_searches import AsyncSearches
from harness_servers.backends.relay.token_source import (
    Continuation,
    GivenText,
    TokenSource,
    Written,
    continuation_sampling,
)
from harness_servers.errors import UnavailableError, failed
from harness_servers.sequences.sequence import Phase, Sequence
from harness_servers.sequences.transcriber import Consequence


class Relay:
    """`run` it as a task of its own; cancelling the task aborts what the engine is writing.

    `stream` gets its events.
    """

    def __init__(
        self,
        *,
        sequence: Sequence,
        source: TokenSource,
        searches: AsyncSearches,
        slots: asyncio.Semaphore,
        stop_ids: frozenset[int],
        flush_interval_ns: Callable[[], int],
    ) -> None:
        self.stream = EventStream()
        self._sequence = sequence
        self._transcriber = sequence.transcriber
        self._source = source
        self._searches = searches
        self._slots = slots
        self._stop_ids = stop_ids
        self._flush_interval_ns = flush_interval_ns
        self._next_flush_ns = 0
        self._admitted_ns: int | None = None  # when it left the queue

    async def run(self) -> None:
        """Returns when the sequence has ended."""
        try:
            self._finish(await self._run_to_deadline())
        except Exception as error:  # whoever reads the stream must not wait for ever
            self.stream.put(failed(error))

    async def _run_to_deadline(self) -> FinishReason:
        deadline_ns, timeout_s = self._sequence.job.deadline_ns, None
        if deadline_ns is not None:
            timeout_s = (deadline_ns - time.monotonic_ns()) / 1e9
        timeout = asyncio.timeout(timeout_s)
        try:
            async with timeout, self._slots:
                self._admitted_ns = time.monotonic_ns()
                return await (self._score() if self._sequence.is_given else self._write())
        except TimeoutError:
            if timeout.expired():
                return FinishReason.DEADLINE
            raise

    async def _write(self) -> FinishReason:
        while True:
            consequence = await self._write_on()
            if isinstance(consequence, FinishReason):
                return consequence
            if consequence is not None and not await self._search(consequence):
                return FinishReason.CONTEXT_FULL

    async def _write_on(self) -> Consequence | None:
        """None where the engine stopped at a token that means nothing here: the next one follows.

        The engine may be some tokens ahead of a stop string or a search: they are dropped.
        """
        num_generated = self._transcriber.num_generated
        continuation = Continuation(
            token_ids=list(self._sequence.tokens),
            sampling=continuation_sampling(self._sequence.job.sampling, num_generated),
            max_new_tokens=self._transcriber.num_left,
            stop_ids=self._stop_ids,
            top_log_probs=self._sequence.job.top_log_probs,
        )
        async with contextlib.aclosing(self._source.generate(continuation)) as pieces:
            async for written in pieces:
                consequence = self._take(written)
                if consequence is not None:
                    return consequence
                self._flush()
        if self._transcriber.num_generated == num_generated:
            raise UnavailableError("the engine ended a sequence without a reason")
        return None

    def _take(self, written: Written) -> Consequence | None:
        if self._sequence.phase is Phase.QUEUED:
            self._sequence.num_read = written.num_cached
            self._start()
            self._sequence.enter(Phase.DECODE, time.monotonic_ns())
        for place, token in enumerate(written.token_ids):
            self._sequence.tokens.append(token)
            if written.log_probs:
                self._transcriber.outbox.add_log_prob(written.log_probs[place])
            consequence = self._transcriber.write(token)
            if consequence is not None:
                return consequence
        return None

    async def _score(self) -> FinishReason:
        """Reads what is given; the first of all tokens, if it is asked for, needs no reading."""
        self._start()
        sequence, given_ids = self._sequence, self._sequence.job.given_ids or ()
        num_left = len(given_ids) - len(sequence.scored)
        text = GivenText(
            token_ids=sequence.tokens,
            first=len(sequence.tokens) - num_left,
            top_log_probs=sequence.job.top_log_probs or 0,
        )
        sequence.add_scores(await self._source.score(text) if num_left else [])
        return FinishReason.LENGTH

    async def _search(self, consequence: SearchRequest | SearchResult) -> bool:
        """Makes the search where one is needed; False where its result does not fit."""
        sequence = self._sequence
        sequence.enter(Phase.SEARCH, time.monotonic_ns())
        self._flush(is_urgent=True)
        result = consequence
        if isinstance(result, SearchRequest):
            request = replace(result, deadline_ns=sequence.job.deadline_ns)
            result = await self._searches.search(sequence.id, request)
        elapsed_ns = sequence.enter(Phase.DECODE, time.monotonic_ns())
        ids = self._transcriber.insert(result, elapsed_ns)
        if ids is None:
            return False
        sequence.tokens += ids
        return True

    def _start(self) -> None:
        if self._admitted_ns is not None:
            self._sequence.start(self._admitted_ns)

    def _finish(self, reason: FinishReason) -> None:
        if self._sequence.phase is Phase.QUEUED:
            self._start()
        self._sequence.finish(reason, time.monotonic_ns())
        self._flush(is_urgent=True)

    def _flush(self, *, is_urgent: bool = False) -> None:
        """Hands out what there is, at intervals: the more sequences run, the longer."""
        now_ns = time.monotonic_ns()
        if not is_urgent and now_ns < self._next_flush_ns:
            return
        self._next_flush_ns = now_ns + self._flush_interval_ns()
        if events := self._transcriber.outbox.take():
            self.stream.put(events)
