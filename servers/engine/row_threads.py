"""A model whose steps several threads share: each reads some of the rows, from first to last layer.

Threads of a tensor operation meet at its end, a few hundred times a step, and where another process
has one of their cores all wait for it each time: a step of two such threads took 3 to 11 times as
long as one of one on a busy machine. Threads that have rows of their own meet once a step.

Shapes: B sequences, L tokens, V vocabulary.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from harness_servers.models.caches import reserve_for
from harness_servers.models.protocol import SequenceModel, State

# Every share reads all weights and makes all calls: below these another one does not pay.
_MIN_SHARE_ROWS: Final = 8
_MIN_SHARE_TOKENS: Final = 64


def num_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Threads:
    """How many share a step: of decoding, and of reading prompts."""

    decode: int = 1
    prefill: int = 1


class RowThreads:
    """A SequenceModel around another. What it computes is the same, up to rounding.

    One step at a time: those of two callers would share threads, and the state is not guarded.
    """

    def __init__(self, model: SequenceModel, threads: Threads) -> None:
        """From now on torch's own operations have one thread, on the caller's thread too."""
        self._model = model
        self.threads = threads
        self.family = model.family
        self.vocabulary_size = model.vocabulary_size
        self.context_limit = model.context_limit
        self._pool: ThreadPoolExecutor | None = None
        torch.set_num_threads(1)

    def init_state(self, num_slots: int) -> State:
        """See SequenceModel.init_state."""
        return self._model.init_state(num_slots)

    def state_bytes(self) -> int:
        """See ModelShape.state_bytes."""
        return self._model.state_bytes()

    def state_bytes_per_token(self) -> int:
        """See ModelShape.state_bytes_per_token."""
        return self._model.state_bytes_per_token()

    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.prefill."""
        return self._share_prompts(self._model.prefill, tokens_BL, lengths_B, state, slots_B)

    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        return self._share_prompts(self._model.read_all, tokens_BL, lengths_B, state, slots_B)

    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """See SequenceModel.decode."""
        num_rows = len(tokens_B)
        num_shares = min(self.threads.decode, num_rows // _MIN_SHARE_ROWS)
        if num_shares < 2:
            return self._model.decode(tokens_B, state, slots_B)
        reserve_for(state, torch.ones_like(slots_B), slots_B)
        bounds = [share * num_rows // num_shares for share in range(num_shares + 1)]

        def read(rows: slice) -> Tensor:
            return self._model.decode(tokens_B[rows], state, slots_B[rows])

        return self._share(read, bounds)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _share_prompts(
        self,
        method: Callable[[Tensor, Tensor, State, Tensor], Tensor],
        tokens_BL: Tensor,
        lengths_B: Tensor,
        state: State,
        slots_B: Tensor,
    ) -> Tensor:
        lengths = lengths_B.tolist()
        num_shares = min(self.threads.prefill, sum(lengths) // _MIN_SHARE_TOKENS)
        bounds = _even_bounds(lengths, num_shares)
        if len(bounds) < 3:
            return method(tokens_BL, lengths_B, state, slots_B)
        reserve_for(state, lengths_B, slots_B)

        def read(rows: slice) -> Tensor:
            longest = max(lengths[rows])
            return method(tokens_BL[rows, :longest], lengths_B[rows], state, slots_B[rows])

        return self._share(read, bounds)

    @torch.inference_mode()
    def _share(self, read: Callable[[slice], Tensor], bounds: list[int]) -> Tensor:
        """All shares' logits. An error of one is raised when no other writes any more."""
        if self._pool is None:
            most = max(self.threads.decode, self.threads.prefill)
            # torch counts its threads by the thread that calls it.
            self._pool = ThreadPoolExecutor(
                most - 1, "rows", initializer=torch.set_num_threads, initargs=(1,)
            )
        first, *others = [slice(*ends) for ends in itertools.pairwise(bounds)]
        futures = [self._pool.submit(read, rows) for rows in others]
        try:
            logits = [read(first)]
        finally:
            wait(futures)
        return torch.cat(logits + [future.result() for future in futures])


def _even_bounds(lengths: list[int], num_shares: int) -> list[int]:
    """Where the rows of each share begin, and the last end: about as many tokens in each.

    Fewer shares where rows are too long to be divided so.
    """
    total = sum(lengths)
    bounds = [0]
    num_before = 0
    for row, length in enumerate(lengths):
        # A row belongs where its middle is.
        if (num_before + length / 2) * num_shares >= len(bounds) * total and row > bounds[-1]:
            bounds.append(row)
        num_before += length
    return [*bounds, len(lengths)]
