"""One sequence as its reader sees it: what it is doing, since when, and what it has to tell."""

from collections.abc import Sequence as Listing
from enum import Enum, auto

from harnessapi.values import FinishReason

from harness_servers.errors import ServingError
from harness_servers.generation import Event, Finished, Job, Scored, Started, TokenLogProb
from harness_servers.sequences.transcriber import Transcriber


class Phase(Enum):
    """What a sequence is doing; its wall time is divided by this."""

    QUEUED = auto()
    PREFILL = auto()
    DECODE = auto()
    SEARCH = auto()


class Sequence:
    """A job on its way. Times are of time.monotonic_ns."""

    def __init__(self, *, sequence_id: int, job: Job, transcriber: Transcriber) -> None:
        self.id = sequence_id
        self.job = job
        self.transcriber = transcriber
        # It has a slot of the engine, and since when.
        self.is_open = False
        self.opened_ns = job.arrived_ns
        # Nothing is added any more to what it has to tell.
        self.is_over = False
        self.phase = Phase.QUEUED
        # Of a completion that is given: what its tokens were after those before them.
        self._scored: list[TokenLogProb] = []
        if job.given_ids and not job.prompt_ids:
            self._scored.append(TokenLogProb(token_id=job.given_ids[0], log_prob=None))
        self._error: ServingError | None = None
        self._phase_began_ns = job.arrived_ns
        self._spent_ns = dict.fromkeys(Phase, 0)

    @property
    def num_unscored(self) -> int:
        """Of a completion that is given: tokens of which it is yet to be told how likely they are.

        The first of all tokens is likely after nothing; there may be no other.
        """
        return len(self.job.given_ids or ()) - len(self._scored)

    def take(self) -> list[Event]:
        """What it has to tell since the last time, Finished the last of all. Raises its error."""
        if self._error is not None:
            raise self._error
        return self.transcriber.outbox.take()

    def enter(self, phase: Phase, now_ns: int) -> int:
        """Changes what the sequence is doing; the time of this stay in the old phase."""
        # A reading of the clock may be older than the last, which another process made.
        now_ns = max(now_ns, self._phase_began_ns)
        stay_ns = now_ns - self._phase_began_ns
        self._spent_ns[self.phase] += stay_ns
        self.phase, self._phase_began_ns = phase, now_ns
        return stay_ns

    def start(self, now_ns: int, *, num_cached: int) -> None:
        """Leaves the queue: the Started event."""
        self.enter(Phase.PREFILL, now_ns)
        self.transcriber.outbox.add_event(
            Started(
                prompt_ids=self.job.prompt_ids,
                num_cached_tokens=num_cached,
                queue_ns=self._spent_ns[Phase.QUEUED],
                sampling=self.job.sampling,
                stopping=self.job.stopping,
                retrieval=self.job.retrieval,
            )
        )

    def add_scores(self, log_probs: Listing[TokenLogProb]) -> None:
        """Of the next tokens of a completion that is given; with the last the Scored event."""
        self._scored += log_probs
        if not self.num_unscored:
            self.transcriber.outbox.add_event(Scored(log_probs=tuple(self._scored)))

    def finish(self, reason: FinishReason, now_ns: int) -> None:
        """The Finished event; a sequence that never left the queue is started first."""
        if self.phase is Phase.QUEUED:
            self.start(self.opened_ns if self.is_open else now_ns, num_cached=0)
        self.enter(self.phase, now_ns)
        self.transcriber.end()
        self.transcriber.outbox.add_event(
            Finished(
                reason=reason,
                num_prompt_tokens=len(self.job.prompt_ids),
                num_generated_tokens=self.transcriber.num_generated,
                num_inserted_tokens=self.transcriber.num_inserted,
                num_searches=self.transcriber.num_searches,
                prefill_ns=self._spent_ns[Phase.PREFILL],
                decode_ns=self._spent_ns[Phase.DECODE],
                retrieval_ns=self._spent_ns[Phase.SEARCH],
            )
        )

    def fail(self, error: ServingError) -> None:
        """It ends with an error; what it had to tell is dropped."""
        self._error = error
