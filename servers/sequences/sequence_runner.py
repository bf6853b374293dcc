"""Follows all sequences of one engine: queue, text, searches, ends. Not thread-safe.

It knows no event loop and no clock but the one that it is given: it can be driven by hand.
"""

import contextlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from harnessapi.values import FinishReason

from harness_retrieval.types import SearchRequest, SearchResult
from harness_servers.checkpoints.codec import Codec
from harness_servers.errors import ServingError, UnavailableError, failed
from harness_servers.generation import Job
from harness_servers.sequences.runner_options import RunnerOptions
from harness_servers.sequences.sequence import Phase, Sequence
from harness_servers.sequences.transcriber import Consequence, Transcriber
from harness_servers.token_source import Closing, Command, Extension, News, Opening, TokenChunk


class SearchQueue(Protocol):
    """Where searches are handed in; the results come back through SequenceRunner.take_result."""

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        """Asks for a search; returns at once."""
        ...

    def forget(self, context_id: str) -> None:
        """This context is searched no more; returns at once."""
        ...


class SequenceRunner:
    """One for an engine. What sequences have to tell lies in them until `take_due` names them."""

    def __init__(
        self,
        *,
        send: Callable[[Command], None],
        codec: Codec,
        context_limit: int | None,
        searches: SearchQueue,
        context_prefix: str,
        options: RunnerOptions,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._send = send
        self._codec = codec
        self._context_limit = context_limit
        self._searches = searches
        self._context_prefix = context_prefix
        self._options = options
        self._clock = clock
        self._ids = itertools.count()
        self._sequences: dict[int, Sequence] = {}
        self._waiting: deque[Sequence] = deque()
        self._num_free = options.num_slots
        # Those that have something to tell, by their numbers: at once, and in time.
        self._urgent: dict[int, Sequence] = {}
        self._unsent: dict[int, Sequence] = {}
        self._next_flush_ns = 0
        self._next_deadline_ns: float = math.inf

    @property
    def next_wake_ns(self) -> float:
        """When `take_due` has something to do though nothing happens; infinity where never."""
        flush_ns = self._next_flush_ns if self._unsent else math.inf
        return min(flush_ns, self._next_deadline_ns)

    def submit(self, job: Job) -> Sequence:
        """Puts a job into the queue. Raises ServingError where its text alone is at fault."""
        sequence = self._make_sequence(job)
        self._sequences[sequence.id] = sequence
        if job.given_ids is not None and not sequence.num_unscored:
            self._finish_scored(sequence)
            return sequence
        self._waiting.append(sequence)
        if job.deadline_ns is not None:
            self._next_deadline_ns = min(self._next_deadline_ns, job.deadline_ns)
        self._admit()
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """Ends a sequence; one that has ended already is ignored."""
        if not sequence.is_over:
            self._finish(sequence, FinishReason.CANCELLED, self._clock())

    def end_all(self, error: ServingError) -> None:
        """Whatever there is ends with an error; the engine is told nothing."""
        self._waiting.clear()
        for sequence in list(self._sequences.values()):
            sequence.is_open = False
            self._end(sequence, error)

    def take_news(self, news: News) -> None:
        """What the engine has done."""
        for chunk in news.chunks:
            sequence = self._sequences.get(chunk.sequence_id)
            if sequence is None:
                continue  # it has ended meanwhile
            try:
                self._take(sequence, chunk, news.at_ns)
            except Exception as error:  # whatever its text leads to, ends it and no other
                self._end(sequence, failed(error))

    def prepare(self, sequence_id: int, found: str) -> None:
        """Tokenizes a result before it is taken, on any thread: its sequence does nothing else."""
        sequence = self._sequences.get(sequence_id)
        if sequence is not None:
            # What it raises is raised again when the result is taken.
            with contextlib.suppress(Exception):
                sequence.transcriber.prepare(found)

    def take_result(self, sequence_id: int, result: SearchResult | UnavailableError) -> None:
        """The search that a sequence waits for is done, or could not be made."""
        sequence = self._sequences.get(sequence_id)
        if sequence is None:
            return
        if isinstance(result, UnavailableError):
            self._end(sequence, result)
            return
        try:
            self._insert(sequence, result, self._clock())
        except Exception as error:  # as in `take_news`
            self._end(sequence, failed(error))

    def take_due(self) -> list[Sequence]:
        """Ends what is overdue; then those whose readers are to hear of them now.

        First tokens, searches and ends at once, the rest at intervals.
        """
        now_ns = self._clock()
        self._expire(now_ns)
        due, self._urgent = self._urgent, {}
        if self._unsent and now_ns >= self._next_flush_ns:
            due |= self._unsent
            self._unsent = {}
            num_open = self._options.num_slots - self._num_free
            self._next_flush_ns = now_ns + max(
                self._options.flush_interval_ns,
                self._options.flush_interval_per_sequence_ns * num_open,
            )
        return list(due.values())

    def _make_sequence(self, job: Job) -> Sequence:
        sequence_id = next(self._ids)
        try:
            transcriber = Transcriber(
                job=job,
                codec=self._codec,
                context_id=self._context_id(sequence_id),
                context_limit=self._context_limit,
            )
        except Exception as error:  # its text alone is at fault
            raise failed(error) from error
        return Sequence(sequence_id=sequence_id, job=job, transcriber=transcriber)

    def _context_id(self, sequence_id: int) -> str:
        return f"{self._context_prefix}-{sequence_id}"

    def _admit(self) -> None:
        while self._waiting and self._num_free:
            sequence = self._waiting.popleft()
            sequence.is_open = True
            sequence.opened_ns = self._clock()
            self._num_free -= 1
            self._send(self._opening(sequence))

    def _finish_scored(self, sequence: Sequence) -> None:
        """A first token alone, which is likely after nothing: no engine is needed, nor a slot."""
        now_ns = self._clock()
        sequence.start(now_ns, num_cached=0)
        sequence.add_scores(())
        self._finish(sequence, FinishReason.LENGTH, now_ns)

    def _opening(self, sequence: Sequence) -> Opening:
        job = sequence.job
        token_ids = [*job.prompt_ids, *(job.given_ids or ())]
        is_given = job.given_ids is not None
        return Opening(
            sequence_id=sequence.id,
            token_ids=token_ids,
            sampling=job.sampling,
            max_new_tokens=sequence.transcriber.num_left,
            stop_ids=sequence.transcriber.stop_ids,
            top_log_probs=job.top_log_probs,
            first_scored=len(token_ids) - sequence.num_unscored if is_given else None,
        )

    def _take(self, sequence: Sequence, chunk: TokenChunk, at_ns: int) -> None:
        if chunk.error:
            raise UnavailableError(chunk.error)
        if sequence.phase is Phase.QUEUED:
            sequence.start(sequence.opened_ns, num_cached=chunk.num_cached or 0)
            self._urgent[sequence.id] = sequence
        if sequence.job.given_ids is not None:
            if chunk.log_probs:
                sequence.add_scores(chunk.log_probs)
            if chunk.is_paused:
                self._finish(sequence, FinishReason.LENGTH, at_ns)
        elif chunk.token_ids or chunk.is_paused:
            self._write(sequence, chunk, at_ns)

    def _write(self, sequence: Sequence, chunk: TokenChunk, at_ns: int) -> None:
        if sequence.phase is Phase.PREFILL:
            sequence.enter(Phase.DECODE, at_ns)
            self._urgent[sequence.id] = sequence
        num_due = sequence.transcriber.num_generated + len(chunk.token_ids)
        consequence = sequence.transcriber.write_all(chunk.token_ids, chunk.log_probs)
        if consequence is not None:
            is_at_last = chunk.is_paused and sequence.transcriber.num_generated == num_due
            if not is_at_last and not isinstance(consequence, FinishReason):
                raise RuntimeError("the engine wrote on past the end of a query")
            self._follow(sequence, consequence, at_ns)
            return
        self._unsent[sequence.id] = sequence
        if chunk.is_paused:  # at a token that means nothing here
            self._extend(sequence, ())

    def _follow(self, sequence: Sequence, consequence: Consequence, at_ns: int) -> None:
        if isinstance(consequence, FinishReason):
            self._finish(sequence, consequence, at_ns)
            return
        sequence.enter(Phase.SEARCH, at_ns)
        sequence.transcriber.flush()
        self._urgent[sequence.id] = sequence
        if isinstance(consequence, SearchRequest):
            deadline_ns = sequence.job.deadline_ns
            self._searches.submit(sequence.id, replace(consequence, deadline_ns=deadline_ns))
        else:
            self._insert(sequence, consequence, at_ns)

    def _insert(self, sequence: Sequence, result: SearchResult, now_ns: int) -> None:
        elapsed_ns = sequence.enter(Phase.DECODE, now_ns)
        ids = sequence.transcriber.insert(result, elapsed_ns)
        if ids is None:
            self._finish(sequence, FinishReason.CONTEXT_FULL, now_ns)
        else:
            self._unsent[sequence.id] = sequence
            self._extend(sequence, ids)

    def _extend(self, sequence: Sequence, ids: list[int] | tuple[()]) -> None:
        self._send(
            Extension(
                sequence_id=sequence.id,
                token_ids=ids,
                max_new_tokens=sequence.transcriber.num_ahead,
            )
        )

    def _expire(self, now_ns: int) -> None:
        if now_ns < self._next_deadline_ns:
            return
        self._next_deadline_ns = math.inf
        for sequence in list(self._sequences.values()):
            deadline_ns = sequence.job.deadline_ns
            if deadline_ns is None:
                continue
            if deadline_ns <= now_ns:
                self._finish(sequence, FinishReason.DEADLINE, now_ns)
            else:
                self._next_deadline_ns = min(self._next_deadline_ns, deadline_ns)

    def _finish(self, sequence: Sequence, reason: FinishReason, now_ns: int) -> None:
        try:
            sequence.finish(reason, now_ns)
        except Exception as error:
            self._end(sequence, failed(error))
        else:
            self._end(sequence)

    def _end(self, sequence: Sequence, error: ServingError | None = None) -> None:
        if sequence.is_over:
            return
        if error is not None:
            sequence.fail(error)
        sequence.is_over = True
        del self._sequences[sequence.id]
        self._unsent.pop(sequence.id, None)
        self._urgent[sequence.id] = sequence
        if sequence.transcriber.num_searches:
            self._searches.forget(self._context_id(sequence.id))
        if sequence.is_open:
            sequence.is_open = False
            self._num_free += 1
            self._send(Closing(sequence_id=sequence.id))
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        self._admit()
