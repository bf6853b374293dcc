"""Tokens per second of one Mamba2 checkpoint: our engine, alone and through gRPC, and others'.

One run on one machine, all engines in alternation on the same rounds of prompts, of which the first
is not counted, and medians over the others: `python -m benchmarks.decode [CHECKPOINT]`. With
`--random-130m` a model of published sizes is made, for good where CHECKPOINT names a folder for it.
vLLM may lie in an environment of its own: `--vllm-python PATH`.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.bandwidth import BEYOND_CACHES, copy_bandwidth
from benchmarks.engine_alone import EngineAlone
from benchmarks.peers import PeerError, Transformers, Vllm
from benchmarks.prompts import make_prompts
from benchmarks.random_mamba2 import write_random_130m
from benchmarks.serving import Measured, Row, summarize, through_grpc
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.checkpoints.checkpoint_files import TOKENIZER
from harness_servers.engine.freed_memory import keep_freed_memory

DEFAULT_CHECKPOINT = Path("checkpoints/ssm")
GRPC = "engine through gRPC"
ALONE = "engine alone"
TRANSFORMERS = "transformers generate"
VLLM = "vLLM"

# What is asked for by default, and of a model of which a step takes hundreds of times as long.
SIZES = {"shortest": 64, "longest": 256, "max_new_tokens": 128, "repetitions": 10}
LARGE = {"shortest": 8, "longest": 24, "max_new_tokens": 32, "repetitions": 2}
LARGE_TRANSFORMERS = 4

Peer = Transformers | Vllm | EngineAlone
# Rounds by way of running.
Measurements = dict[str, list[Measured]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """What the machine would allow if decoding were nothing but moving weights and states."""

    num_sequences: int
    state_bytes: int
    # Of the states: every token reads one and writes it.
    bytes_moved_per_token: int
    # Read once a step.
    weight_bytes: int
    # Bytes read and written a second: of a copy larger than the caches, by one thread and by as
    # many as there are cores, and of one of the pool.
    memory_bandwidth: float
    memory_bandwidth_all_cores: float
    pool_bandwidth: float

    def tokens_per_s(self, bandwidth: float) -> float:
        """Every sequence gets a token a step."""
        moved = self.weight_bytes + self.num_sequences * self.bytes_moved_per_token
        return self.num_sequences * bandwidth / moved


async def measure(
    checkpoint: Path, rounds: list[list[str]], options: argparse.Namespace
) -> Measurements:
    """Every way on every round, one after the other: what else the machine does hits them all."""
    torch.set_num_threads(options.threads or 1)
    keep_freed_memory()
    loaded = load_checkpoint(checkpoint)
    peers = start_peers(checkpoint, options)
    peers[ALONE] = EngineAlone(loaded.model, options.sequences, options.threads)
    # What importing them has made stays, and is not to be looked through in a round.
    gc.collect()
    gc.freeze()
    limits = {TRANSFORMERS: options.transformers_new_tokens or options.max_new_tokens}
    measured: Measurements = {way: [] for way in (GRPC, *peers)}
    async with through_grpc(checkpoint, options.sequences, options.threads) as remote:
        for number, prompts in enumerate(rounds):
            print(f"round {number} of {len(rounds) - 1}", file=sys.stderr)
            one = await remote.run(prompts, options.max_new_tokens, searches=False)
            measured[GRPC].append(one)
            ids = [list(loaded.codec.encode(prompt).ids) for prompt in prompts]
            for way, peer in list(peers.items()):
                try:
                    one = peer.run(ids, limits.get(way, options.max_new_tokens))
                except PeerError as error:
                    print(f"{way}: skipped: {error}", file=sys.stderr)
                    del peers[way], measured[way]
                else:
                    measured[way].append(one)
    for peer in peers.values():
        peer.close()
    return {way: counted[1:] for way, counted in measured.items()}


def start_peers(checkpoint: Path, options: argparse.Namespace) -> dict[str, Peer]:
    """The peers that can run here; of the others it is said why not."""
    print("starting transformers and vLLM", file=sys.stderr)
    peers: dict[str, Peer] = {}
    peers[TRANSFORMERS] = Transformers(checkpoint, options.peer_threads)
    try:
        peers[VLLM] = Vllm(options.vllm_python, checkpoint, options.sequences)
    except PeerError as error:
        print(f"{VLLM}: skipped: {error}", file=sys.stderr)
    return peers


def measure_ceiling(checkpoint: Path, num_sequences: int) -> Ceiling:
    """From the sizes of weights and state, and copies."""
    loaded = load_checkpoint(checkpoint)
    state_bytes = loaded.model.state_bytes()
    numbers = loaded.num_parameters
    if loaded.config.raw.get("tie_word_embeddings") is not True:
        # Of embeddings that are no head a step reads some rows.
        numbers -= loaded.model.vocabulary_size * int(loaded.config.raw["hidden_size"])
    return Ceiling(
        num_sequences=num_sequences,
        state_bytes=state_bytes,
        bytes_moved_per_token=2 * state_bytes,
        weight_bytes=4 * numbers,
        memory_bandwidth=copy_bandwidth(BEYOND_CACHES),
        memory_bandwidth_all_cores=copy_bandwidth(BEYOND_CACHES, threads=os.cpu_count() or 1),
        pool_bandwidth=copy_bandwidth(num_sequences * state_bytes),
    )


def ratios(rows: list[Row]) -> dict[str, float]:
    """How many times as fast as the others the engine is through gRPC."""
    by_way = {row.way: row.tokens_per_s for row in rows}
    return {way: by_way[GRPC] / rate for way, rate in by_way.items() if way != GRPC}


def main() -> None:
    """Prints the rows, the ratios and the ceiling, or one JSON object."""
    options = _parse()
    rounds = [
        make_prompts(options.sequences, options.shortest, options.longest, repetition)
        for repetition in range(options.repetitions + 1)
    ]
    with _checkpoint(options) as checkpoint:
        measured = asyncio.run(measure(checkpoint, rounds, options))
        ceiling = measure_ceiling(checkpoint, options.sequences)
    rows = [summarize(way, counted) for way, counted in measured.items()]
    if options.json:
        answer = {
            "rows": [asdict(row) for row in rows],
            "ratios": ratios(rows),
            "ceiling": asdict(ceiling),
        }
        print(json.dumps(answer))
    else:
        _print(rows, ceiling)


@contextmanager
def _checkpoint(options: argparse.Namespace) -> Iterator[Path]:
    if not options.random_130m:
        yield options.checkpoint or DEFAULT_CHECKPOINT
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = options.checkpoint or Path(scratch)
        write_random_130m(folder, DEFAULT_CHECKPOINT / TOKENIZER)
        yield folder


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument(
        "--random-130m", action="store_true", help="a random Mamba2 of published sizes"
    )
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--shortest", type=int, help="tokens of the shortest prompt")
    parser.add_argument("--longest", type=int, help="tokens of the longest prompt")
    parser.add_argument("--max-new-tokens", type=int)
    parser.add_argument("--repetitions", type=int)
    parser.add_argument("--threads", type=int, help="of our engine; its own choice by default")
    parser.add_argument("--peer-threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--transformers-new-tokens", type=int, help="fewer, where its rate is all that is wanted"
    )
    parser.add_argument(
        "--vllm-python", default=sys.executable, metavar="PATH", help="a Python that has vLLM"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for name, size in (LARGE if options.random_130m else SIZES).items():
        if getattr(options, name) is None:
            setattr(options, name, size)
    if options.random_130m and options.transformers_new_tokens is None:
        options.transformers_new_tokens = LARGE_TRANSFORMERS
    return options


def _print(rows: list[Row], ceiling: Ceiling) -> None:
    for row in rows:
        print(f"{row.way:24} {row.tokens_per_s:9,.0f} tokens/s")
    for way, ratio in ratios(rows).items():
        print(f"{'gRPC / ' + way:32} {ratio:6.2f}")
    print(f"state of a sequence      {ceiling.state_bytes:13,} bytes, read and written a token")
    print(f"weights                  {ceiling.weight_bytes:13,} bytes, read a step")
    for where, bandwidth in (
        ("memory copy, one thread", ceiling.memory_bandwidth),
        ("memory copy, all cores", ceiling.memory_bandwidth_all_cores),
        ("pool-sized copy", ceiling.pool_bandwidth),
    ):
        bound = ceiling.tokens_per_s(bandwidth)
        shares = ", ".join(
            f"{row.way} reaches {row.tokens_per_s / bound:.0%}"
            for row in rows
            if row.way in (GRPC, ALONE, VLLM)
        )
        print(f"{where:24} {bandwidth / 1e9:9.1f} GB/s: at most {bound:,.0f} tokens/s; {shares}")


if __name__ == "__main__":
    main()
