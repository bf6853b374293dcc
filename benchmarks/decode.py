"""Tokens per second of one Mamba2 checkpoint: our engine, transformers and vLLM.

One run on one machine, all engines in alternation on the same rounds of prompts, of which the first
is not counted, and medians over the others: `python -m benchmarks.decode [CHECKPOINT]`.
vLLM may lie in an environment of its own: `--vllm-python PATH`.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.bandwidth import BEYOND_CACHES, copy_bandwidth
from benchmarks.peers import PeerError, Transformers, Vllm
from benchmarks.prompts import make_prompts
from benchmarks.serving import InProcess, Measured, Row, summarize, through_grpc
from harness_servers.checkpoints.checkpoint import load_checkpoint
from harness_servers.engine.model_runner import keep_freed_memory

DEFAULT_CHECKPOINT = Path("checkpoints/ssm")
GRPC = "engine through gRPC"
IN_PROCESS = "engine in process"
TRANSFORMERS = "transformers generate"
VLLM = "vLLM"

# Rounds by way of running.
Measurements = dict[str, list[Measured]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ceiling:
    """What the machine would allow if decoding were nothing but reading and writing the state."""

    state_bytes: int
    bytes_moved_per_token: int
    # Bytes read and written a second: of a copy larger than the caches, and of one of the pool.
    memory_bandwidth: float
    pool_bandwidth: float

    def tokens_per_s(self, bandwidth: float) -> float:
        """Every token reads and writes one state."""
        return bandwidth / self.bytes_moved_per_token


async def measure(
    checkpoint: Path, rounds: list[list[str]], options: argparse.Namespace
) -> Measurements:
    """Every way on every round, one after the other: what else the machine does hits them all."""
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    loaded = load_checkpoint(checkpoint)
    in_process = InProcess(loaded, options.sequences)
    await in_process.start()
    peers = start_peers(checkpoint, options)
    # What importing them has made stays, and is not to be looked through in a round.
    gc.collect()
    gc.freeze()
    limits = {TRANSFORMERS: options.transformers_new_tokens or options.max_new_tokens}
    measured: Measurements = {way: [] for way in (IN_PROCESS, GRPC, *peers)}
    async with through_grpc(checkpoint, options.sequences, options.threads) as remote:
        for number, prompts in enumerate(rounds):
            print(f"round {number} of {len(rounds) - 1}", file=sys.stderr)
            for way, runner in ((IN_PROCESS, in_process), (GRPC, remote)):
                one = await runner.run(prompts, options.max_new_tokens, searches=False)
                measured[way].append(one)
            ids = [list(loaded.codec.encode(prompt).ids) for prompt in prompts]
            for way, peer in list(peers.items()):
                try:
                    one = peer.run(ids, limits.get(way, options.max_new_tokens))
                except PeerError as error:
                    print(f"{way}: skipped: {error}", file=sys.stderr)
                    del peers[way], measured[way]
                else:
                    measured[way].append(one)
    await in_process.close()
    for peer in peers.values():
        peer.close()
    return {way: counted[1:] for way, counted in measured.items()}


def start_peers(checkpoint: Path, options: argparse.Namespace) -> dict[str, Transformers | Vllm]:
    """The peers that can run here; of the others it is said why not."""
    print("starting transformers and vLLM", file=sys.stderr)
    peers: dict[str, Transformers | Vllm] = {}
    peers[TRANSFORMERS] = Transformers(checkpoint, options.peer_threads)
    try:
        peers[VLLM] = Vllm(options.vllm_python, checkpoint, options.sequences)
    except PeerError as error:
        print(f"{VLLM}: skipped: {error}", file=sys.stderr)
    return peers


def measure_ceiling(checkpoint: Path, num_sequences: int) -> Ceiling:
    """From the size of the state, and copies on one thread."""
    state_bytes = load_checkpoint(checkpoint).model.state_bytes()
    return Ceiling(
        state_bytes=state_bytes,
        bytes_moved_per_token=2 * state_bytes,
        memory_bandwidth=copy_bandwidth(BEYOND_CACHES),
        pool_bandwidth=copy_bandwidth(num_sequences * state_bytes),
    )


def ratios(rows: list[Row]) -> dict[str, float]:
    """How many times as fast as the others the engine is through gRPC."""
    by_way = {row.way: row.tokens_per_s for row in rows}
    return {way: by_way[GRPC] / rate for way, rate in by_way.items() if way != GRPC}


def main() -> None:
    """Prints the rows, the ratios and the ceiling, or one JSON object."""
    options = _parse()
    checkpoint: Path = options.checkpoint
    rounds = [
        make_prompts(options.sequences, options.shortest, options.longest, repetition)
        for repetition in range(options.repetitions + 1)
    ]
    measured = asyncio.run(measure(checkpoint, rounds, options))
    rows = [summarize(way, counted) for way, counted in measured.items()]
    ceiling = measure_ceiling(checkpoint, options.sequences)
    if options.json:
        answer = {
            "rows": [asdict(row) for row in rows],
            "ratios": ratios(rows),
            "ceiling": asdict(ceiling),
        }
        print(json.dumps(answer))
    else:
        _print(rows, ceiling)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--shortest", type=int, default=64, help="tokens of the shortest prompt")
    parser.add_argument("--longest", type=int, default=256, help="tokens of the longest prompt")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="of our engine")
    parser.add_argument("--peer-threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--transformers-new-tokens", type=int, help="fewer, where its rate is all that is wanted"
    )
    parser.add_argument(
        "--vllm-python", default=sys.executable, metavar="PATH", help="a Python that has vLLM"
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _print(rows: list[Row], ceiling: Ceiling) -> None:
    for row in rows:
        print(f"{row.way:24} {row.tokens_per_s:9,.0f} tokens/s")
    for way, ratio in ratios(rows).items():
        print(f"{'gRPC / ' + way:32} {ratio:6.2f}")
    print(
        f"state                    {ceiling.state_bytes:9,} bytes a sequence, "
        f"{ceiling.bytes_moved_per_token:,} moved a token"
    )
    for where, bandwidth in (
        ("memory", ceiling.memory_bandwidth),
        ("pool-sized", ceiling.pool_bandwidth),
    ):
        bound = ceiling.tokens_per_s(bandwidth)
        shares = ", ".join(
            f"{row.way} reaches {row.tokens_per_s / bound:.0%}"
            for row in rows
            if row.way in (GRPC, IN_PROCESS)
        )
        print(
            f"{where + ' copy':24} {bandwidth / 1e9:9.1f} GB/s: at most {bound:,.0f} tokens/s; "
            f"{shares}"
        )


if __name__ == "__main__":
    main()
