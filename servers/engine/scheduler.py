"""Decides who has a slot and who reads what in the next step. Knows no torch."""

import heapq
from dataclasses import dataclass, field

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.slot_sequence import SlotSequence
from harness_servers.token_source import Opening


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptPiece:
    """The next `num_tokens` pending tokens of a sequence, to be read by prefill."""

    sequence: SlotSequence
    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step: first the pieces are prefilled, then those scored whose tokens are given, then the
    sequences decoded, one token each.

    Those to be decoded come in the order of their slots: neighbours in the batch are neighbours in
    memory, and a model can work on them in place.
    """

    prefill: list[PromptPiece] = field(default_factory=list)
    score: list[PromptPiece] = field(default_factory=list)
    decode: list[SlotSequence] = field(default_factory=list)


class Scheduler:
    """An even share for everyone who has a slot and something to do."""

    def __init__(self, options: EngineOptions, *, scored_tokens: int) -> None:
        """`scored_tokens`: how many of a step's tokens may have all their logits made."""
        # In the order in which they came, those that have paused too.
        self.running: list[SlotSequence] = []
        self._options = options
        self._scored_tokens = scored_tokens
        # A heap: the lowest first, so that those in use lie close together in memory.
        self._free_slots = list(range(options.num_slots))

    @property
    def has_work(self) -> bool:
        """True where a step would do something: not all who have a slot have paused."""
        return any(not sequence.is_paused for sequence in self.running)

    @property
    def num_free(self) -> int:
        """Slots that nobody has."""
        return len(self._free_slots)

    def admit(self, opening: Opening) -> SlotSequence:
        """Gives it a slot. Raises ValueError where none is free: they are the caller's to count."""
        if not self._free_slots:
            raise ValueError(f"no slot is free for sequence {opening.sequence_id}")
        sequence = SlotSequence(opening, slot=heapq.heappop(self._free_slots))
        self.running.append(sequence)
        return sequence

    def remove(self, sequence: SlotSequence) -> None:
        """Takes the sequence out; its slot is free at once."""
        self.running.remove(sequence)
        heapq.heappush(self._free_slots, sequence.slot)

    def plan_step(self) -> Step:
        """The next step. Prefill leaves one token pending: the one that decode draws after."""
        step = Step()
        reading = []
        catch_up = self._options.max_catch_up_tokens
        for sequence in self.running:
            if sequence.is_paused:
                continue
            limit = catch_up if sequence.num_written else 1
            if sequence.num_pending > limit:
                reading.append(sequence)
            else:
                step.decode.append(sequence)
        if reading:
            self._share(reading, step)
        step.decode.sort(key=lambda sequence: sequence.slot)
        return step

    def _share(self, reading: list[SlotSequence], step: Step) -> None:
        """Divides the step's tokens evenly; what short prompts leave over goes to longer ones.

        Where an even share would be a very small one the shortest prompts go first, and with them
        the sequence that has been there for longest, so that none waits for ever.
        """
        budget, scored_budget = self._options.prefill_tokens, self._scored_tokens
        oldest = reading[0]
        reading.sort(key=lambda sequence: (sequence is not oldest, sequence.num_pending))
        for index, sequence in enumerate(reading):
            if budget == 0:
                break
            share = max(self._options.min_chunk_tokens, budget // (len(reading) - index))
            if sequence.is_given and not sequence.num_before_scores:
                num_tokens = min(share, sequence.num_pending - 1, budget, scored_budget)
                scored_budget -= num_tokens
                pieces = step.score
            else:
                num_tokens = min(share, self._num_wanted(sequence), budget)
                pieces = step.prefill
            budget -= num_tokens
            if num_tokens:
                pieces.append(PromptPiece(sequence=sequence, num_tokens=num_tokens))
            if num_tokens == sequence.num_pending - 1 and not sequence.is_given:
                step.decode.append(sequence)

    def _num_wanted(self, sequence: SlotSequence) -> int:
        """What it could prefill at once: up to where a snapshot may be taken."""
        interval = self._options.snapshot_interval
        num_left = sequence.num_before_scores if sequence.is_given else sequence.num_pending - 1
        return min(num_left, interval - sequence.num_read % interval)
