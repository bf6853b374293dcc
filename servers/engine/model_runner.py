"""Runs the model over the slots of its pool: all that the engine does with tensors.

Shapes: B sequences in the batch, L tokens, V vocabulary.
"""

import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.likelihoods import token_log_probs
from harness_servers.engine.pool import StatePool
from harness_servers.engine.prefix_cache import PrefixCache, kept_lengths, prefix_digests
from harness_servers.engine.row_threads import RowThreads
from harness_servers.engine.sampling import Sampler
from harness_servers.engine.scheduler import PromptPiece
from harness_servers.engine.slot_sequence import SlotSequence
from harness_servers.engine.threads import choose_threads
from harness_servers.generation import TokenLogProb
from harness_servers.models.protocol import PromptModel, SequenceModel, State


class ModelRunner:
    """Reads tokens into slots and draws the next ones; keeps `num_read` of its sequences."""

    def __init__(self, model: SequenceModel, options: EngineOptions) -> None:
        self.pool = StatePool(model, options.num_slots)
        self._model = model
        # Asked once: of a model that does nothing where a prompt ends no step looks for ends.
        self._is_told_ends = isinstance(model, PromptModel)
        self._prompts = cast(PromptModel, model)
        self._options = options
        self.cache = PrefixCache(max_bytes=options.prefix_cache_bytes)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """Runs every kind of step once on slots that nobody has yet: the first of each is slow."""
        for num_rows in {1, self._options.num_slots}:
            slots_B = torch.arange(num_rows)
            tokens_BL = torch.zeros(num_rows, 2, dtype=torch.long)
            lengths_B = torch.full((num_rows,), 2)
            self._model.prefill(tokens_BL, lengths_B, self.pool.state, slots_B)
            self._model.decode(tokens_BL[:, 0], self.pool.state, slots_B).argmax(dim=-1).tolist()
        if self._is_told_ends:
            self._prompts.end_prompts(self.pool.state, torch.arange(self._options.num_slots))

    @torch.inference_mode()
    def share_rows(self, num_threads: int | None) -> None:
        """From now on several threads share every step; None: as many as are measured to be best.

        After `warm_up`, on the thread that makes the steps.
        """
        num_slots = self._options.num_slots
        threads = choose_threads(self._model, self.pool, num_slots, told=num_threads)
        self._model = RowThreads(self._model, threads)

    @torch.inference_mode()
    def begin(self, sequences: list[SlotSequence]) -> None:
        """Empties the slots of new sequences, or fills them with the state of a known prefix."""
        self.pool.reset([sequence.slot for sequence in sequences])
        for sequence in sequences:
            prompt_ids = sequence.tokens[: sequence.num_prompt]
            lengths = kept_lengths(len(prompt_ids), self._options.snapshot_interval)
            sequence.prefixes = prefix_digests(prompt_ids, lengths)
            num_cached = 0
            if cached := self.cache.longest(prompt_ids):
                num_cached, snapshot = cached
                self.pool.restore(sequence.slot, snapshot)
            sequence.begin(num_cached)

    @torch.inference_mode()
    def prefill(self, pieces: list[PromptPiece]) -> None:
        """Reads the pieces; where one ends at a prefix worth keeping, its state is kept."""
        self._model.prefill(*_batch(pieces, self.pool.state))
        for piece in pieces:
            sequence = piece.sequence
            sequence.num_read += piece.num_tokens
            self._keep_prefix(sequence, sequence.num_read)

    @torch.inference_mode()
    def score(self, pieces: list[PromptPiece]) -> list[list[TokenLogProb]]:
        """Reads the pieces; of each, how likely the token was that follows each of its tokens.

        What is given to be scored is no part of a prompt, as what is written is not.
        """
        rows = self._ending([piece.sequence for piece in pieces])
        if not rows:
            return self._scores(pieces, self._model.read_all(*_batch(pieces, self.pool.state)))
        firsts = [PromptPiece(sequence=pieces[row].sequence, num_tokens=1) for row in rows]
        self._model.prefill(*_batch(firsts, self.pool.state))
        ended = self._scores(firsts, self._end([piece.sequence for piece in firsts]))
        found = dict(zip(rows, ended, strict=True))
        left = {
            row: PromptPiece(sequence=piece.sequence, num_tokens=num_tokens)
            for row, piece in enumerate(pieces)
            if (num_tokens := piece.num_tokens - (row in found))
        }
        if left:
            for row, more in zip(left, self.score([*left.values()]), strict=True):
                found[row] = found.get(row, []) + more
        return [found[row] for row in range(len(pieces))]

    def _scores(self, pieces: list[PromptPiece], logits_TV: Tensor) -> list[list[TokenLogProb]]:
        """Of pieces that the model has read, by the logits after all their tokens."""
        following, nums_top = [], []
        for piece in pieces:
            sequence = piece.sequence
            start = sequence.num_read + 1
            following += sequence.tokens[start : start + piece.num_tokens]
            nums_top += [sequence.top_log_probs or 0] * piece.num_tokens
            sequence.num_read += piece.num_tokens
        log_probs = iter(token_log_probs(logits_TV, following, nums_top))
        return [list(itertools.islice(log_probs, piece.num_tokens)) for piece in pieces]

    @torch.inference_mode()
    def decode(
        self, batch: list[SlotSequence], num_steps: int, goes_on: Callable[[], bool]
    ) -> list[tuple[int, ...]]:
        """Reads one pending token of each and draws what could follow it, by sequence.

        Up to `num_steps` times in a row, each reading what it drew; of those with more than one
        token pending, once. Ends where one of them draws a token to stop at, which it does not
        read, and where after a step it does not go on. The log-probabilities of what was drawn go
        to those who asked for them.
        """
        tokens_B = torch.tensor([sequence.tokens[sequence.num_read] for sequence in batch])
        slots_B = torch.tensor([sequence.slot for sequence in batch])
        sampler = Sampler(
            [sequence.sampling for sequence in batch], [sequence.num_written for sequence in batch]
        )
        asking = [
            row
            for row, sequence in enumerate(batch)
            if sequence.top_log_probs is not None and sequence.num_pending == 1
        ]
        ending = self._ending(batch)
        # Of all together: they tell sooner that there is none.
        stop_ids = frozenset[int]().union(*{sequence.stop_ids for sequence in batch})
        steps: list[list[int]] = []
        while True:
            logits_BV = self._model.decode(tokens_B, self.pool.state, slots_B)
            if ending:  # this is the only step: one of them has written nothing
                logits_BV[ending] = self._end([batch[row] for row in ending])
            tokens_B = sampler.draw(logits_BV, len(steps))
            tokens: list[int] = tokens_B.tolist()
            steps.append(tokens)
            if asking:
                _add_log_probs([batch[row] for row in asking], logits_BV[asking], tokens_B[asking])
            if len(steps) == num_steps or not goes_on():
                break
            if not stop_ids.isdisjoint(tokens) and any(
                token in sequence.stop_ids for sequence, token in zip(batch, tokens, strict=True)
            ):
                break
        for sequence in batch:
            sequence.num_read += len(steps)
            # Most have long left their prompts behind: nothing else is asked of those.
            if sequence.num_read == sequence.num_prompt and not self._is_told_ends:
                self._keep_prefix(sequence, sequence.num_read)
        return list(zip(*steps, strict=True))

    def _ending(self, sequences: list[SlotSequence]) -> list[int]:
        """Which of these read their prompts' last tokens next, where the model is told of it."""
        if not self._is_told_ends:
            return []
        return [row for row, one in enumerate(sequences) if one.num_read == one.num_prompt - 1]

    def _end(self, sequences: list[SlotSequence]) -> Tensor:
        """Logits (B, V) after prompts whose last tokens the model has just read.

        In this step, however much the model has to do for it.
        """
        # Before the end: a longer prompt that begins with this one goes on from there.
        for sequence in sequences:
            self._keep_prefix(sequence, sequence.num_prompt)
        slots_B = torch.tensor([sequence.slot for sequence in sequences])
        return self._prompts.end_prompts(self.pool.state, slots_B)

    def _keep_prefix(self, sequence: SlotSequence, num_read: int) -> None:
        digest = sequence.prefixes.get(num_read)
        if digest is not None and self.cache.wants(digest):
            self.cache.keep(digest, num_read, self.pool.snapshot(sequence.slot))


def _batch(pieces: list[PromptPiece], state: State) -> tuple[Tensor, Tensor, State, Tensor]:
    """What a model reads pieces by: the next tokens of each (B, L), how many they are (B), the
    state, and the slots (B).
    """
    rows = []
    for piece in pieces:
        start = piece.sequence.num_read
        rows.append(piece.sequence.tokens[start : start + piece.num_tokens])
    length = max(len(row) for row in rows)
    tokens_BL = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    lengths_B = torch.tensor([len(row) for row in rows])
    return tokens_BL, lengths_B, state, torch.tensor([piece.sequence.slot for piece in pieces])


def _add_log_probs(batch: list[SlotSequence], logits_BV: Tensor, tokens_B: Tensor) -> None:
    """Of the tokens that these sequences write next."""
    nums_top = [sequence.top_log_probs or 0 for sequence in batch]
    log_probs = token_log_probs(logits_BV, tokens_B.tolist(), nums_top)
    for sequence, log_prob in zip(batch, log_probs, strict=True):
        sequence.add_log_prob(log_prob)
