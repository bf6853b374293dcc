"""The engine, one step at a time: schedule, run, postprocess. Not thread-safe."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from harnessapi.values import FinishReason

from harness_retrieval.types import SearchRequest, SearchResult
from harness_servers.checkpoints.codec import Codec
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.model_runner import ModelRunner
from harness_servers.engine.scheduler import PromptPiece, Scheduler
from harness_servers.errors import ServingError, UnavailableError, failed
from harness_servers.generation import Event, Job
from harness_servers.models.protocol import SequenceModel
from harness_servers.sequences.sequence import Phase, Sequence
from harness_servers.sequences.transcriber import Consequence, Transcriber

# By sequence: its next events, Finished the last of all, or the error that ended it.
News = list[tuple[int, list[Event] | ServingError]]


class SearchQueue(Protocol):
    """Where searches are handed in; the results come back through Engine.take_result."""

    def submit(self, sequence_id: int, request: SearchRequest) -> None:
        """Asks for a search; returns at once."""
        ...

    def forget(self, context_id: str) -> None:
        """This context is searched no more; returns at once."""
        ...


class Engine:
    """Decodes all its sequences together; any model of the protocol."""

    def __init__(
        self,
        *,
        model: SequenceModel,
        codec: Codec,
        searches: SearchQueue,
        context_prefix: str,
        options: EngineOptions,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.scheduler = Scheduler(options, scored_tokens=_scored_tokens(model, options))
        self.runner = ModelRunner(model, options)
        self._context_limit = model.context_limit
        self._codec = codec
        self._searches = searches
        self._context_prefix = context_prefix
        self._options = options
        self._clock = clock
        self._sequences: dict[int, Sequence] = {}
        self._urgent: list[Sequence] = []
        self._outgoing: News = []
        self._next_flush_ns = 0
        self._next_deadline_ns: float = math.inf

    @property
    def next_deadline_ns(self) -> float:
        """When the next sequence has to end, running or not; infinity where none has to."""
        return self._next_deadline_ns

    def submit(self, sequence_id: int, job: Job) -> None:
        """Puts a job into the queue under a number of the caller's."""
        try:
            transcriber = Transcriber(
                job=job,
                codec=self._codec,
                context_id=self._context_id(sequence_id),
                context_limit=self._context_limit,
            )
        except Exception as error:  # its text alone is at fault
            self._outgoing.append((sequence_id, failed(error)))
            return
        sequence = Sequence(sequence_id=sequence_id, job=job, transcriber=transcriber)
        self._sequences[sequence_id] = sequence
        self.scheduler.waiting.append(sequence)
        if job.deadline_ns is not None:
            self._next_deadline_ns = min(self._next_deadline_ns, job.deadline_ns)

    def cancel(self, sequence_id: int) -> None:
        """Ends a sequence; one that has ended already is ignored."""
        sequence = self._sequences.get(sequence_id)
        if sequence is not None:
            self._finish(sequence, FinishReason.CANCELLED)

    def take_result(self, sequence_id: int, result: SearchResult | UnavailableError) -> None:
        """The search that a sequence waits for is done, or could not be made."""
        sequence = self._sequences.get(sequence_id)
        if sequence is None:
            return
        if isinstance(result, UnavailableError):
            self._end(sequence, result)
        else:
            self._alone(sequence, lambda waiting: self._insert(waiting, result))

    def step(self) -> None:
        """One round: ends what is overdue, admits, reads prompts, draws a token for the rest."""
        self._expire()
        self._admit()
        plan = self.scheduler.plan_step()
        if plan.prefill:
            self.runner.prefill(plan.prefill)
        if plan.score:
            self._score(plan.score)
        if plan.decode:
            self._decode(plan.decode)

    def take_news(self) -> News:
        """What is due to be sent: first tokens and ends at once, the rest at intervals."""
        now_ns = self._clock()
        due = self._urgent
        if now_ns >= self._next_flush_ns or not self.scheduler.has_work:
            due = list(self.scheduler.running)  # one that fails is taken out of it
            self._next_flush_ns = now_ns + max(
                self._options.flush_interval_ns,
                self._options.flush_interval_per_sequence_ns * len(due),
            )
        for sequence in due:
            self._alone(sequence, self._send)
        self._urgent = []
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def _context_id(self, sequence_id: int) -> str:
        return f"{self._context_prefix}-{sequence_id}"

    def _expire(self) -> None:
        now_ns = self._clock()
        if now_ns < self._next_deadline_ns:
            return
        self._next_deadline_ns = math.inf
        for sequence in list(self._sequences.values()):
            deadline_ns = sequence.job.deadline_ns
            if deadline_ns is None:
                continue
            if deadline_ns <= now_ns:
                self._finish(sequence, FinishReason.DEADLINE)
            else:
                self._next_deadline_ns = min(self._next_deadline_ns, deadline_ns)

    def _admit(self) -> None:
        admitted = self.scheduler.admit()
        if not admitted:
            return
        self.runner.begin(admitted)
        now_ns = self._clock()
        for sequence in admitted:
            sequence.start(now_ns)
            # The first of all tokens is likely after nothing; there may be no other.
            if sequence.is_given and sequence.add_scores([]):
                self._finish(sequence, FinishReason.LENGTH)

    def _score(self, pieces: list[PromptPiece]) -> None:
        for piece, log_probs in zip(pieces, self.runner.score(pieces), strict=True):
            if piece.sequence.add_scores(log_probs):
                self._finish(piece.sequence, FinishReason.LENGTH)

    def _decode(self, batch: list[Sequence]) -> None:
        for sequence, token in zip(batch, self.runner.decode(batch), strict=True):
            if sequence.num_read < len(sequence.tokens):
                continue  # still reading what a search inserted: nothing is drawn yet
            try:
                self._take(sequence, token)
            except Exception as error:  # as in `_alone`, without a call more for each token
                self._fail(sequence, error)

    def _take(self, sequence: Sequence, token: int) -> None:
        sequence.tokens.append(token)
        consequence = sequence.transcriber.write(token)
        if sequence.phase is Phase.PREFILL:
            sequence.enter(Phase.DECODE, self._clock())
            self._urgent.append(sequence)
        if consequence is not None:
            self._follow(sequence, consequence)

    def _send(self, sequence: Sequence) -> None:
        if events := sequence.transcriber.outbox.take():
            self._outgoing.append((sequence.id, events))

    def _alone(self, sequence: Sequence, action: Callable[[Sequence], None]) -> None:
        """Whatever the text of one sequence leads to ends that sequence and no other."""
        try:
            action(sequence)
        except Exception as error:
            self._fail(sequence, error)

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        if sequence.id in self._sequences:
            self._end(sequence, failed(error))

    def _follow(self, sequence: Sequence, consequence: Consequence) -> None:
        if isinstance(consequence, FinishReason):
            self._finish(sequence, consequence)
            return
        sequence.enter(Phase.SEARCH, self._clock())
        if isinstance(consequence, SearchRequest):
            deadline_ns = sequence.job.deadline_ns
            self._searches.submit(sequence.id, replace(consequence, deadline_ns=deadline_ns))
        else:
            self._insert(sequence, consequence)

    def _insert(self, sequence: Sequence, result: SearchResult) -> None:
        elapsed_ns = sequence.enter(Phase.DECODE, self._clock())
        ids = sequence.transcriber.insert(result, elapsed_ns)
        if ids is None:
            self._finish(sequence, FinishReason.CONTEXT_FULL)
        else:
            sequence.tokens += ids

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        try:
            sequence.finish(reason, self._clock())
            last: list[Event] | ServingError = sequence.transcriber.outbox.take()
        except Exception as error:
            last = failed(error)
        self._end(sequence, last)

    def _end(self, sequence: Sequence, last: list[Event] | ServingError) -> None:
        self._outgoing.append((sequence.id, last))
        self.scheduler.remove(sequence)
        del self._sequences[sequence.id]
        if sequence.transcriber.num_searches:
            self._searches.forget(self._context_id(sequence.id))


def _scored_tokens(model: SequenceModel, options: EngineOptions) -> int:
    """How many places' logits may be in memory at once."""
    return max(1, min(options.scored_tokens, options.scored_logits // model.vocabulary_size))
