"""One sequence in the engine: the only thing, beside the scheduler, that changes."""

from enum import Enum, auto

from harnessapi.values import FinishReason

from harness_servers.generation import Finished, Job, Scored, Started, TokenLogProb
from harness_servers.sequences.transcriber import Transcriber


class Phase(Enum):
    """What a sequence is doing; its wall time is divided by this."""

    QUEUED = auto()
    PREFILL = auto()
    DECODE = auto()
    SEARCH = auto()


class Sequence:
    """A job on its way: the tokens so far, and how many of them its state has read."""

    def __init__(self, *, sequence_id: int, job: Job, transcriber: Transcriber) -> None:
        self.id = sequence_id
        self.job = job
        self.transcriber = transcriber
        self.slot = -1
        self.tokens = [*job.prompt_ids, *(job.given_ids or ())]
        self.num_read = 0
        # Of a completion that is given: what its tokens were after those before them.
        self.scored: list[TokenLogProb] = []
        if job.given_ids and not job.prompt_ids:
            self.scored.append(TokenLogProb(token_id=job.given_ids[0], log_prob=None))
        # Digests of the prompt's prefixes by their length, where a snapshot may be taken.
        self.prefixes: dict[int, bytes] = {}
        self.phase = Phase.QUEUED
        self._phase_began_ns = job.arrived_ns
        self._spent_ns = dict.fromkeys(Phase, 0)

    @property
    def num_pending(self) -> int:
        """Tokens that the state has not read; at 1 the next token can be drawn."""
        return len(self.tokens) - self.num_read

    @property
    def is_given(self) -> bool:
        """Its tokens are read and scored, and none is drawn."""
        return self.job.given_ids is not None

    @property
    def num_unscored(self) -> int:
        """Of a given completion: tokens to be read before the first whose logits are wanted."""
        return max(0, len(self.job.prompt_ids) - 1 - self.num_read)

    def enter(self, phase: Phase, now_ns: int) -> int:
        """Changes what the sequence is doing; the time of this stay in the old phase."""
        stay_ns = now_ns - self._phase_began_ns
        self._spent_ns[self.phase] += stay_ns
        self.phase, self._phase_began_ns = phase, now_ns
        return stay_ns

    def start(self, now_ns: int) -> None:
        """Leaves the queue: the Started event."""
        self.enter(Phase.PREFILL, now_ns)
        self.transcriber.outbox.add_event(
            Started(
                prompt_ids=self.job.prompt_ids,
                num_cached_tokens=self.num_read,
                queue_ns=self._spent_ns[Phase.QUEUED],
                sampling=self.job.sampling,
                stopping=self.job.stopping,
                retrieval=self.job.retrieval,
            )
        )

    def add_scores(self, log_probs: list[TokenLogProb]) -> bool:
        """Of the next tokens of a given completion; True: that was all, the Scored event."""
        self.scored += log_probs
        is_done = len(self.scored) == len(self.job.given_ids or ())
        if is_done:
            self.transcriber.outbox.add_event(Scored(log_probs=tuple(self.scored)))
        return is_done

    def finish(self, reason: FinishReason, now_ns: int) -> None:
        """The Finished event; a sequence that never left the queue is started first."""
        if self.phase is Phase.QUEUED:
            self.start(now_ns)
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
