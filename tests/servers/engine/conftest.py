"""An engine that is given commands by hand, and what each of its sequences was told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch

from harness_servers.engine.engine import Engine
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.sampling import draw
from harness_servers.generation import Sampling, TokenLogProb
from harness_servers.models.protocol import SequenceModel
from harness_servers.token_source import Chunk, Closing, Extension, News, Opening


@dataclass(kw_only=True)
class Told:
    """What was told of one sequence."""

    chunks: list[Chunk] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return [token for chunk in self.chunks for token in chunk.token_ids]

    @property
    def log_probs(self) -> list[TokenLogProb]:
        return [log_prob for chunk in self.chunks for log_prob in chunk.log_probs]

    @property
    def is_paused(self) -> bool:
        return bool(self.chunks) and self.chunks[-1].is_paused


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
            self.told[chunk.sequence_id].chunks.append(chunk)


@pytest.fixture(scope="session")
def by_hand() -> type[HandDriven]:
    return HandDriven


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
    pending = list(prompt)
    for more, max_new_tokens in turns:
        pending += more
        for _ in range(max_new_tokens):
            for token in pending:
                logits_BV = model.decode(torch.tensor([token]), state, slot)
            [drawn] = draw(logits_BV, [sampling or Sampling()], [len(written)])
            written.append(drawn)
            pending = [drawn]
            if drawn in stop_ids:
                break
    return written


@pytest.fixture(scope="session")
def alone() -> Callable[..., list[int]]:
    return continue_alone
