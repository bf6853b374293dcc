"""An engine that is given commands by hand, and what each of its sequences was told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.likelihoods import token_log_probs
from harness_servers.engine.sampling import Sampler
from harness_servers.generation import Sampling, TokenLogProb
from harness_servers.models.protocol import PromptModel, SequenceModel, State
from harness_servers.token_source import Closing, Extension, News, Opening, TokenChunk


@dataclass(kw_only=True)
class Told:
    """What was told of one sequence."""

    chunks: list[TokenChunk] = field(default_factory=list)
    # It waits to be extended or closed.
    is_paused: bool = False

    @property
    def tokens(self) -> list[int]:
        return [token for chunk in self.chunks for token in chunk.token_ids]

    @property
    def log_probs(self) -> list[TokenLogProb]:
        return [log_prob for chunk in self.chunks for log_prob in chunk.log_probs]


class HandDriven:
    """Hands commands to an engine one at a time, and steps it."""

    def __init__(
        self,
        model: SequenceModel,
        *,
        options: EngineOptions | None = None,
        clock: Callable[[], int] | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.told: dict[int, Told] = {}
        self.is_interrupted = is_interrupted
        options = options or EngineOptions()
        self.engine = Engine(model, options, clock) if clock else Engine(model, options)

    def open(
        self,
        prompt: Sequence[int],
        *,
        max_new_tokens: int = 40,
        sampling: Sampling | None = None,
        stop_ids: Sequence[int] = (),
        top_log_probs: int | None = None,
        first_scored: int | None = None,
    ) -> int:
        """The number of the new sequence."""
        sequence_id = len(self.told)
        self.told[sequence_id] = Told()
        opening = Opening(
            sequence_id=sequence_id,
            token_ids=prompt,
            sampling=sampling or Sampling(),
            max_new_tokens=max_new_tokens,
            stop_ids=frozenset(stop_ids),
            top_log_probs=top_log_probs,
            first_scored=first_scored,
        )
        self.take(opening)
        return sequence_id

    def extend(self, sequence_id: int, token_ids: Sequence[int], max_new_tokens: int = 40) -> None:
        self.told[sequence_id].is_paused = False
        self.take(
            Extension(sequence_id=sequence_id, token_ids=token_ids, max_new_tokens=max_new_tokens)
        )

    def close(self, sequence_id: int) -> None:
        self.take(Closing(sequence_id=sequence_id))

    def take(self, *commands: Opening | Extension | Closing) -> None:
        self.engine.take(commands)
        self._listen(self.engine.take_news())

    def step(self) -> None:
        self.engine.step(self.is_interrupted)
        self._listen(self.engine.take_news())

    def run(self) -> None:
        """Until all have paused."""
        while self.engine.has_work:
            self.step()

    def _listen(self, news: News | None) -> None:
        for chunk in news.chunks if news else ():
            told = self.told[chunk.sequence_id]
            told.chunks.append(chunk)
            told.is_paused = chunk.is_paused


@pytest.fixture(scope="session")
def by_hand() -> type[HandDriven]:
    return HandDriven


def read_prompt(model: SequenceModel, prompt: Sequence[int], state: State, slot: Tensor) -> Tensor:
    """Token by token, and to its end: the logits (L, V) after each."""
    logits = [model.decode(torch.tensor([token]), state, slot) for token in prompt]
    if isinstance(model, PromptModel):
        logits[-1] = model.end_prompts(state, slot)
    return torch.cat(logits)


def continue_alone(
    model: SequenceModel,
    prompt: Sequence[int],
    turns: Sequence[tuple[Sequence[int], int]] = (((), 40),),
    *,
    sampling: Sampling | None = None,
    stop_ids: Sequence[int] = (),
) -> list[int]:
    """What is written after a prompt and, turn by turn, after more tokens: the slow, obvious way.

    Every token by itself through `decode`, on a state of its own. A turn: tokens that are read, and
    how many are written at most.
    """
    state, slot = model.init_state(1), torch.tensor([0])
    written: list[int] = []
    logits_BV = read_prompt(model, prompt, state, slot)[-1:]
    pending: list[int] = []
    for more, max_new_tokens in turns:
        pending += more
        for _ in range(max_new_tokens):
            for token in pending:
                logits_BV = model.decode(torch.tensor([token]), state, slot)
            [drawn] = Sampler([sampling or Sampling()], [len(written)]).draw(logits_BV, 0).tolist()
            written.append(drawn)
            pending = [drawn]
            if drawn in stop_ids:
                break
    return written


@pytest.fixture(scope="session")
def alone() -> Callable[..., list[int]]:
    return continue_alone


def score_in_one(model: SequenceModel, ids: Sequence[int], first_scored: int) -> list[TokenLogProb]:
    """How likely the tokens from a place on are, read one by one; with two of the likeliest."""
    state, slot = model.init_state(1), torch.tensor([0])
    given = list(ids[first_scored:])
    if not given:
        return []
    prompt_LV = read_prompt(model, ids[:first_scored], state, slot)
    given_LV = [model.decode(torch.tensor([one]), state, slot) for one in given]
    logits_LV = torch.cat([prompt_LV, *given_LV])
    return token_log_probs(logits_LV[first_scored - 1 : -1], given, [2] * len(given))


@pytest.fixture(scope="session")
def score_alone() -> Callable[..., list[TokenLogProb]]:
    return score_in_one


class HashModel:
    """Numbers without rounding: what comes next hangs on all tokens read, and on their order."""

    family = "RNN"
    vocabulary_size = 16
    context_limit = None
    _NUM_HASHES = 100_003

    def __init__(self) -> None:
        self._table_HV = torch.randn(997, 16, generator=torch.Generator().manual_seed(0))

    def init_state(self, num_slots: int) -> State:
        return {"hash": torch.zeros(num_slots, dtype=torch.long)}

    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        logits_TV = self.read_all(tokens_BL, lengths_B, state, slots_B)
        return logits_TV[lengths_B.cumsum(0) - 1]

    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        rows = zip(tokens_BL, lengths_B.tolist(), slots_B, strict=True)
        return torch.cat(
            [
                self.decode(token[None], state, slot[None])
                for tokens_L, length, slot in rows
                for token in tokens_L[:length]
            ]
        )

    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        hashes_B = (state["hash"][slots_B] * 31 + tokens_B + 1) % self._NUM_HASHES
        state["hash"][slots_B] = hashes_B
        return self._table_HV[hashes_B % len(self._table_HV)]

    def state_bytes(self) -> int:
        return 8

    def state_bytes_per_token(self) -> int:
        return 0


class EndedHashModel(HashModel):
    """The same, and what comes next hangs on where the prompt ended too, and that it did once."""

    def end_prompts(self, state: State, slots_B: Tensor) -> Tensor:
        hashes_B = (state["hash"][slots_B] * 37 + 5) % self._NUM_HASHES
        state["hash"][slots_B] = hashes_B
        return self._table_HV[hashes_B % len(self._table_HV)]


@pytest.fixture(scope="session")
def hash_model() -> HashModel:
    return HashModel()


@pytest.fixture(scope="session")
def ended_hash_model() -> EndedHashModel:
    return EndedHashModel()
