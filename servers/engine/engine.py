"""The engine, one step at a time: schedule, run, postprocess. Numbers only; not thread-safe."""

import time
from collections.abc import Callable, Iterable

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.model_runner import ModelRunner
from harness_servers.engine.scheduler import PromptPiece, Scheduler
from harness_servers.engine.slot_sequence import SlotSequence
from harness_servers.models.protocol import SequenceModel
from harness_servers.token_source import Closing, Command, EngineCounts, Extension, News, Opening


def _never() -> bool:
    return False


class Engine:
    """Continues all its sequences together; any model of the protocol."""

    def __init__(
        self,
        model: SequenceModel,
        options: EngineOptions,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.scheduler = Scheduler(options, scored_tokens=_scored_tokens(model, options))
        self.runner = ModelRunner(model, options)
        self._options = options
        self._clock = clock
        self._sequences: dict[int, SlotSequence] = {}
        # By id: those of which there is something to be told at the end of this step.
        self._urgent: dict[int, SlotSequence] = {}
        self._next_news_ns = 0
        self._num_steps = 0

    @property
    def has_work(self) -> bool:
        """True where a step would do something: not all sequences have paused."""
        return self.scheduler.has_work

    def take(self, commands: Iterable[Command]) -> None:
        """Does what is asked, in this order. One that has been closed is extended by nothing.

        Raises ValueError for what no caller may ask: a sequence without a slot for it, or twice.
        """
        opened = []
        for command in commands:
            match command:
                case Opening():
                    opened.append(self._open(command))
                case Extension():
                    if sequence := self._sequences.get(command.sequence_id):
                        sequence.extend(command)
                case Closing():
                    self._close(command.sequence_id)
        # Of several at once the slots are emptied at once; who was closed again has none.
        if begun := [one for one in opened if self._sequences.get(one.id) is one]:
            self.runner.begin(begun)
            self._urgent.update((sequence.id, sequence) for sequence in begun)

    def step(self, is_interrupted: Callable[[], bool] = _never) -> None:
        """Reads prompts, or scores, and draws a token for those who can write.

        Where that is all there is to do, several one after another: until one of the sequences
        pauses, news are due, or `is_interrupted` says that there is something else to be done.
        """
        self._num_steps += 1
        plan = self.scheduler.plan_step()
        if plan.prefill:
            self.runner.prefill(plan.prefill)
        if plan.score:
            self._score(plan.score)
        if plan.decode:
            is_alone = not plan.prefill and not plan.score
            self._decode(plan.decode, _num_steps(plan.decode) if is_alone else 1, is_interrupted)

    def take_news(self) -> News | None:
        """What is due to be told: first chunks, first tokens and pauses at once, else by interval.

        Called after every `take` and every `step`.
        """
        now_ns = self._clock()
        told, self._urgent = self._urgent, {}
        if now_ns >= self._next_news_ns:
            told.update((one.id, one) for one in self.scheduler.running if one.has_news)
            self._next_news_ns = now_ns + self._options.news_interval_ns
        if not told:
            return None
        chunks = [sequence.take_chunk() for sequence in told.values()]
        counts = self._counts() if self._options.tells_counts else None
        return News(at_ns=now_ns, chunks=chunks, counts=counts)

    def _counts(self) -> EngineCounts:
        return EngineCounts(
            num_steps=self._num_steps,
            slot_bytes=self.runner.pool.num_bytes(),
            cache_bytes=self.runner.cache.num_bytes,
        )

    def _open(self, opening: Opening) -> SlotSequence:
        if opening.sequence_id in self._sequences:
            raise ValueError(f"sequence {opening.sequence_id} is open")
        sequence = self.scheduler.admit(opening)
        self._sequences[sequence.id] = sequence
        return sequence

    def _close(self, sequence_id: int) -> None:
        sequence = self._sequences.pop(sequence_id, None)
        if sequence is not None:
            self._urgent.pop(sequence_id, None)
            self.scheduler.remove(sequence)

    def _score(self, pieces: list[PromptPiece]) -> None:
        for piece, log_probs in zip(pieces, self.runner.score(pieces), strict=True):
            piece.sequence.add_scores(log_probs)
            self._note_pause(piece.sequence)

    def _decode(
        self, batch: list[SlotSequence], num_steps: int, is_interrupted: Callable[[], bool]
    ) -> None:
        def goes_on() -> bool:
            return self._clock() < self._next_news_ns and not is_interrupted()

        written = self.runner.decode(batch, num_steps, goes_on)
        # The first is one that `step` has counted.
        self._num_steps += len(written[0]) - 1
        for sequence, token_ids in zip(batch, written, strict=True):
            if sequence.num_pending > 0:
                continue  # still reading what it was extended by: nothing is drawn yet
            is_first = not sequence.num_written
            sequence.write(token_ids)
            if is_first:
                self._urgent[sequence.id] = sequence
            self._note_pause(sequence)

    def _note_pause(self, sequence: SlotSequence) -> None:
        if sequence.is_paused:
            self._urgent[sequence.id] = sequence


def _num_steps(batch: list[SlotSequence]) -> int:
    """How many tokens each of them may write before anything else is to be done for one of them."""
    if any(sequence.num_pending > 1 or not sequence.num_written for sequence in batch):
        return 1
    return min(sequence.num_left for sequence in batch)


def _scored_tokens(model: SequenceModel, options: EngineOptions) -> int:
    """How many places' logits may be in memory at once."""
    return max(1, min(options.scored_tokens, options.scored_logits // model.vocabulary_size))
