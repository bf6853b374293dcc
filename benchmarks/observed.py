"""What it costs a model server to be looked at: tokens per second with metrics, and with all.

`python -m benchmarks.observed [CHECKPOINT]` has three servers up, asks them in turns, and prints
tokens per second and per second of processor time, and the medians of the rounds' ratios.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc

from benchmarks.processes import cpu_with_engine_s, ended, free_port
from benchmarks.prompts import make_prompts
from benchmarks.serving import DEFAULT_CHECKPOINT, start_server, until_serving

_PLAIN: Final = "plain"
_MAX_START_S: Final = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One round of one server."""

    tokens_per_s: float
    tokens_per_cpu_s: float


async def _ask(address: str, pid: int, prompts: Sequence[str], limit: int) -> Asked:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)

        async def read(prompt: str) -> int:
            stopping = pb.StoppingOptions(max_new_tokens=limit, ignore_eos=True)
            request = pb.GenerateRequest(text=prompt, stopping=stopping)
            return sum([event.delta.num_tokens async for event in stub.Generate(request)])

        began_s, began_cpu_s = time.perf_counter(), cpu_with_engine_s(pid)
        num_tokens = sum(await asyncio.gather(*map(read, prompts)))
        return Asked(
            tokens_per_s=num_tokens / (time.perf_counter() - began_s),
            tokens_per_cpu_s=num_tokens / (cpu_with_engine_s(pid) - began_cpu_s),
        )


async def _measure(servers: dict[str, tuple[str, int]], options: argparse.Namespace) -> None:
    for address, _ in servers.values():
        async with grpc.aio.insecure_channel(address) as channel:
            await asyncio.wait_for(until_serving(channel), _MAX_START_S)
    rounds: dict[str, list[Asked]] = {name: [] for name in servers}
    for repetition in range(options.repetitions + 1):
        prompts = make_prompts(options.streams, 16, 64, repetition)
        for name, (address, pid) in servers.items():
            rounds[name].append(await _ask(address, pid, prompts, options.max_new_tokens))
    for name, all_rounds in rounds.items():
        # The first round warms up.
        pairs = list(zip(all_rounds[1:], rounds[_PLAIN][1:], strict=True))
        wall = statistics.median(one.tokens_per_s / plain.tokens_per_s for one, plain in pairs)
        cpu = statistics.median(
            one.tokens_per_cpu_s / plain.tokens_per_cpu_s for one, plain in pairs
        )
        tokens_per_s = statistics.median(one.tokens_per_s for one, _ in pairs)
        tokens_per_cpu_s = statistics.median(one.tokens_per_cpu_s for one, _ in pairs)
        print(
            f"{name:<8} {tokens_per_s:>8,.0f} tokens/s {wall:.3f}   "
            f"{tokens_per_cpu_s:>8,.0f} tokens/s of processor {cpu:.3f}"
        )


def main() -> None:
    """Prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--repetitions", type=int, default=10)
    options = parser.parse_args()
    ways = {
        _PLAIN: (),
        "metrics": ("--metrics-port", str(free_port())),
        "all": ("--metrics-port", str(free_port()), "--log-format", "json"),
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        servers = {}
        for name, more in ways.items():
            address = f"unix:{folder}/{name}.sock"
            server = start_server(options.checkpoint, address, options.streams, 1, *more)
            stack.enter_context(ended(server))
            servers[name] = (address, server.pid)
        asyncio.run(_measure(servers, options))


if __name__ == "__main__":
    main()
