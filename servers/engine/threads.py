"""How many threads share a step, chosen by measurement for this model on this machine.

Shapes: B sequences, L tokens.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

import torch

from harness_servers.engine.pool import StatePool
from harness_servers.engine.row_threads import RowThreads, Threads, num_cores
from harness_servers.models.caches import NUM_READ
from harness_servers.models.protocol import SequenceModel

# More threads have to take less than this share of the time of fewer: they take cores from others.
_CLEARLY: Final = 0.8
# Of a shorter step of decoding the messages that carry its tokens are a good part, and another
# process has the second core for them: it stays with one thread, unmeasured.
_SHORT_STEP_S: Final = 0.005
_BUDGET_S: Final = 0.3
_MAX_ROUNDS: Final = 3
# A full step of the engine: 512 tokens of 16 prompts.
_PROMPTS: Final = 16
_PROMPT_TOKENS: Final = 32

# Runs one step on a model.
_Step = Callable[[SequenceModel], object]


def choose_threads(
    model: SequenceModel,
    pool: StatePool,
    num_slots: int,
    *,
    told: int | None = None,
    at_most: int | None = None,
) -> Threads:
    """`told` decides where it is given; else what a few steps on the pool's slots take.

    For a pool that nobody's sequence is in yet, after one step of each kind: the first is slow. It
    takes a few steps more, and `at_most`, by default the cores of this process, bounds the number.
    """
    if told is not None:
        return Threads(decode=told, prefill=told)
    most = num_cores() if at_most is None else at_most
    if most == 1:
        return Threads()
    trial = _TimedSteps(model, pool, num_slots, list(_counts(most)))
    try:
        return Threads(decode=trial.choose_decode(), prefill=trial.fastest(trial.prefill))
    finally:
        trial.close()


class _TimedSteps:
    """The same steps with each number of threads."""

    def __init__(
        self, model: SequenceModel, pool: StatePool, num_slots: int, counts: list[int]
    ) -> None:
        self._pool = pool
        self._slots_B = torch.arange(num_slots)
        self._models = {
            count: RowThreads(model, Threads(decode=count, prefill=count)) for count in counts
        }

    def choose_decode(self) -> int:
        """See _SHORT_STEP_S."""
        if min(self._time(self.decode, 1) for _ in range(2)) < _SHORT_STEP_S:
            return 1
        return self.fastest(self.decode)

    def fastest(self, step: _Step) -> int:
        """The fewest threads of which more are not clearly faster, by the best of a few steps."""
        ends = time.perf_counter() + _BUDGET_S
        best = dict.fromkeys(self._models, math.inf)
        for number in range(_MAX_ROUNDS):
            # All in turn: what else the machine does hits them all.
            for count in best:
                best[count] = min(best[count], self._time(step, count))
            if number and time.perf_counter() > ends:
                break
        chosen = 1
        for count, seconds in best.items():
            if seconds < _CLEARLY * best[chosen]:
                chosen = count
        return chosen

    def decode(self, model: SequenceModel) -> None:
        """One token of each sequence."""
        tokens_B = torch.zeros_like(self._slots_B)
        model.decode(tokens_B, self._pool.state, self._slots_B)

    def prefill(self, model: SequenceModel) -> None:
        """As much of prompts as the engine reads in one step."""
        slots_B = self._slots_B[:_PROMPTS]
        tokens_BL = torch.zeros(len(slots_B), _PROMPT_TOKENS, dtype=torch.long)
        lengths_B = torch.full_like(slots_B, _PROMPT_TOKENS)
        model.prefill(tokens_BL, lengths_B, self._pool.state, slots_B)

    def close(self) -> None:
        """Ends the threads, and leaves empty slots."""
        for model in self._models.values():
            model.close()
        self._pool.reset(self._slots_B.tolist())

    def _time(self, step: _Step, count: int) -> float:
        if NUM_READ in self._pool.state:  # caches would grow, and steps become longer
            self._pool.reset(self._slots_B.tolist())
        began = time.perf_counter()
        step(self._models[count])
        return time.perf_counter() - began


def _counts(most: int) -> Iterator[int]:
    """1, 2, 4, ... and the most there are."""
    count = 1
    while count < most:
        yield count
        count *= 2
    yield most
