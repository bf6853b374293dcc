"""One sequence in its slot: the only thing, beside the scheduler, that changes."""

from collections.abc import Sequence

from harness_servers.generation import TokenLogProb
from harness_servers.token_source import Extension, Opening, TokenChunk


class SlotSequence:
    """The tokens so far, how many of them its state has read, and what is yet to be told."""

    def __init__(self, opening: Opening, *, slot: int) -> None:
        self.id = opening.sequence_id
        self.slot = slot
        self.tokens = list(opening.token_ids)
        self.num_read = 0
        self.sampling = opening.sampling
        self.stop_ids = opening.stop_ids
        self.top_log_probs = opening.top_log_probs
        self.is_given = opening.first_scored is not None
        # Where the prompt proper ends: behind it stands what is written, or given to be scored.
        self.num_prompt = len(self.tokens) if opening.first_scored is None else opening.first_scored
        # Digests of the prompt's prefixes by their length, where a snapshot may be taken.
        self.prefixes: dict[int, bytes] = {}
        # Tokens that it has written in all, which count its draws; and may still write.
        self.num_written = 0
        self.num_left = opening.max_new_tokens
        self.is_paused = False
        # Tokens to be scored, of those given.
        self.num_unscored = len(self.tokens) - self.num_prompt
        self._num_cached: int | None = None
        self._log_probs: list[TokenLogProb] = []
        self._num_told = len(self.tokens)

    @property
    def num_pending(self) -> int:
        """Tokens that the state has not read; at 1 the next token can be drawn."""
        return len(self.tokens) - self.num_read

    @property
    def num_before_scores(self) -> int:
        """Of one that is given: tokens to be read before the first whose logits are wanted."""
        return max(0, self.num_prompt - 1 - self.num_read)

    @property
    def has_news(self) -> bool:
        """True where there is something that has not been told."""
        return self._num_told < len(self.tokens) or bool(self._log_probs)

    def begin(self, num_cached: int) -> None:
        """There is a state for it, which has read so many of its tokens."""
        self.num_read = self._num_cached = num_cached
        self.is_paused = self.is_given and not self.num_unscored

    def extend(self, extension: Extension) -> None:
        """Goes on after a pause. Raises ValueError where it is none."""
        if not self.is_paused or self.is_given:
            raise ValueError(f"sequence {self.id} is extended, and does not wait for it")
        self.tokens += extension.token_ids
        self._num_told = len(self.tokens)
        self.num_left = extension.max_new_tokens
        self.is_paused = False

    def write(self, token_ids: Sequence[int]) -> None:
        """The next tokens, drawn one after another; only the last may be one to stop at."""
        self.tokens += token_ids
        self.num_written += len(token_ids)
        self.num_left -= len(token_ids)
        self.is_paused = self.num_left <= 0 or token_ids[-1] in self.stop_ids

    def add_log_prob(self, log_prob: TokenLogProb) -> None:
        """Of the token that is written next."""
        self._log_probs.append(log_prob)

    def add_scores(self, log_probs: list[TokenLogProb]) -> None:
        """Of the next of the given tokens; after the last it pauses."""
        self._log_probs += log_probs
        self.num_unscored -= len(log_probs)
        self.is_paused = not self.num_unscored

    def take_chunk(self) -> TokenChunk:
        """All that has not been told."""
        chunk = TokenChunk(
            sequence_id=self.id,
            token_ids=self.tokens[self._num_told :],
            log_probs=self._log_probs,
            num_cached=self._num_cached,
            is_paused=self.is_paused,
        )
        self._num_told, self._log_probs, self._num_cached = len(self.tokens), [], None
        return chunk
