"""Milliseconds a token and bytes a sequence after short and long contexts.

`python -m benchmarks.context CHECKPOINT ... [--lengths 1000,10000,100000]`. A recurrent state keeps
its size and its speed; a hybrid's cache grows by a row a token. Where a context limit or a cache
ends a model earlier, the longest context that it takes is measured.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.engine.freed_memory import keep_freed_memory
from harness_servers.engine.pool import StatePool, state_bytes
from harness_servers.models.protocol import SequenceModel

_CHUNK = 512
_NUM_WARM = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One checkpoint after one context."""

    checkpoint: str
    family: str
    context: int
    ms_per_token: float
    bytes_per_sequence: int


class Reader:
    """One model with a sequence in every slot of its pool, all with the same context."""

    def __init__(self, model: SequenceModel, num_sequences: int) -> None:
        self._model = model
        self._pool = StatePool(model, num_sequences)
        self._slots_B = torch.arange(num_sequences)
        self._draw = torch.Generator().manual_seed(0)
        self.num_read = 0

    def read_to(self, length: int) -> None:
        """Reads random tokens up to this context."""
        while self.num_read < length:
            num = min(_CHUNK, length - self.num_read)
            tokens_BL = self._tokens(num)
            lengths_B = torch.full_like(self._slots_B, num)
            self._model.prefill(tokens_BL, lengths_B, self._pool.state, self._slots_B)
            self.num_read += num

    def decode(self) -> float:
        """Reads one more token of each sequence; the milliseconds that it took."""
        tokens_B = self._tokens(1)[:, 0]
        began = time.perf_counter()
        self._model.decode(tokens_B, self._pool.state, self._slots_B)
        self.num_read += 1
        return (time.perf_counter() - began) * 1e3

    def bytes_per_sequence(self) -> int:
        """Of all that one sequence has to keep."""
        return state_bytes(self._pool.snapshot(0))

    def _tokens(self, length: int) -> torch.Tensor:
        shape = (len(self._slots_B), length)
        return torch.randint(0, self._model.vocabulary_size, shape, generator=self._draw)


def measure(folder: Path, lengths: list[int], num_sequences: int, num_tokens: int) -> list[Row]:
    """One row for each length, each in a pool of its own; the medians of `num_tokens` decodes.

    The lengths take turns, token by token: what else runs on the machine meets them all alike.
    """
    model = load_checkpoint(folder).model
    spare = num_tokens + _NUM_WARM
    limit = model.context_limit
    contexts = sorted(
        {length if limit is None else min(length, limit - spare) for length in lengths}
    )
    readers = [Reader(model, num_sequences) for _ in contexts]
    for reader, context in zip(readers, contexts, strict=True):
        reader.read_to(context)
    sizes = [reader.bytes_per_sequence() for reader in readers]
    times: list[list[float]] = [[] for _ in readers]
    for turn in range(spare):
        for reader, taken in zip(readers, times, strict=True):
            elapsed_ms = reader.decode()
            if turn >= _NUM_WARM:
                taken.append(elapsed_ms)
    return [
        Row(
            checkpoint=folder.resolve().name,
            family=model.family,
            context=context,
            ms_per_token=statistics.median(taken) / num_sequences,
            bytes_per_sequence=size,
        )
        for context, taken, size in zip(contexts, times, sizes, strict=True)
    ]


def main() -> None:
    """Prints a table, or one JSON list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--lengths", default="1000,10000,100000")
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=200, help="decoded for each figure")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    lengths = [int(length) for length in options.lengths.split(",")]
    rows = [
        row
        for folder in options.checkpoints
        for row in measure(folder, lengths, options.sequences, options.tokens)
    ]
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    first: dict[str, Row] = {}
    for row in rows:
        base = first.setdefault(row.checkpoint, row)
        print(
            f"{row.checkpoint:12} {row.family:7} {row.context:8,} tokens"
            f" {row.ms_per_token:8.3f} ms a token ({row.ms_per_token / base.ms_per_token:5.2f}x)"
            f" {row.bytes_per_sequence:12,} bytes a sequence"
        )


if __name__ == "__main__":
    main()
