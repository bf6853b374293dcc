"""A thousand streams at once, some of them read slowly: do all end, in what memory, who waits?

`python -m benchmarks.streams [CHECKPOINT]` asks a server without slow readers and with them, in
turns, and prints the status codes, when the quick ones had all ended, and the most memory that
server and engine held together.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc

from benchmarks.processes import ended, resident_with_engine_mib
from benchmarks.prompts import make_prompts
from benchmarks.serving import DEFAULT_CHECKPOINT, start_server, until_serving

# A slow reader rests so long after every message.
_REST_S: Final = 0.5
_WATCH_S: Final = 0.1
_MAX_START_S: Final = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """All streams of one round, to their ends."""

    codes: Counter[str]
    num_tokens: int
    # Until the last of the quick ones had ended.
    quick_s: float


async def _read(
    stub: inference_pb2_grpc.InferenceServiceStub, prompt: str, limit: int, rest_s: float
) -> tuple[str, int, float]:
    """Its status code, its tokens, and when it had ended."""
    stopping = pb.StoppingOptions(max_new_tokens=limit, ignore_eos=True)
    call: Any = stub.Generate(pb.GenerateRequest(text=prompt, stopping=stopping))
    num_tokens = 0
    try:
        async for response in call:
            num_tokens += response.delta.num_tokens
            await asyncio.sleep(rest_s)
    except grpc.aio.AioRpcError as error:
        return error.code().name, num_tokens, time.perf_counter()
    return "OK", num_tokens, time.perf_counter()


async def ask_all(
    stub: inference_pb2_grpc.InferenceServiceStub, prompts: Sequence[str], limit: int, num_slow: int
) -> Round:
    """All prompts at once, each so many tokens; the first `num_slow` are read slowly."""
    began = time.perf_counter()
    read = await asyncio.gather(
        *[
            _read(stub, prompt, limit, _REST_S if number < num_slow else 0.0)
            for number, prompt in enumerate(prompts)
        ]
    )
    return Round(
        codes=Counter(code for code, _, _ in read),
        num_tokens=sum(num_tokens for _, num_tokens, _ in read),
        quick_s=max(end for _, _, end in read[num_slow:]) - began,
    )


async def _watch(pid: int, seen: list[float]) -> None:
    while True:
        seen.append(resident_with_engine_mib(pid))
        await asyncio.sleep(_WATCH_S)


async def _measure(address: str, pid: int, options: argparse.Namespace) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        await asyncio.wait_for(until_serving(channel), _MAX_START_S)
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        rounds: dict[int, list[Round]] = {0: [], options.slow: []}
        memory: list[float] = []
        watching = asyncio.create_task(_watch(pid, memory))
        for repetition in range(options.repetitions):
            for num_slow, measured in rounds.items():
                prompts = make_prompts(options.streams, 16, 64, repetition)
                measured.append(await ask_all(stub, prompts, options.max_new_tokens, num_slow))
        watching.cancel()
    for num_slow, measured in rounds.items():
        codes = sum((one.codes for one in measured), Counter[str]())
        print(
            f"{num_slow} of {options.streams} read slowly: {dict(codes)}, "
            f"{sum(one.num_tokens for one in measured):,} tokens, the quick ones ended after "
            f"{statistics.median(one.quick_s for one in measured):.2f} s"
        )
    print(f"server and engine: {memory[0]:.0f} MiB at first, at most {max(memory):.0f} MiB")


def main() -> None:
    """Prints what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--slow", type=int, default=20)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/server.sock"
        server = start_server(options.checkpoint, address, options.slots, threads=1)
        with ended(server):
            asyncio.run(_measure(address, server.pid, options))


if __name__ == "__main__":
    main()
