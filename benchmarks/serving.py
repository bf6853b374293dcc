"""Tokens per second: the engine in process, through gRPC, and with its search channel on.

One run on one machine, the ways in alternation, medians of several repetitions:
`python -m benchmarks.serving [CHECKPOINT]`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.values import Mode

from harness.sample import Split
from harness.tasks.assoc_recall import AssocRecall
from harness.tasks.prompts import render
from harness.way import Prompting, Way
from harness_retrieval.local import LocalRetriever
from harness_servers.backends.in_process import backend_in_process
from harness_servers.checkpoints.checkpoint import Checkpoint, load_checkpoint
from harness_servers.engine.engine_options import EngineOptions
from harness_servers.engine.freed_memory import keep_freed_memory
from harness_servers.generation import Finished, Job, Retrieval, Sampling, Stopping
from harness_servers.models.protocol import SequenceModel

DEFAULT_CHECKPOINT = Path("checkpoints/rnn")
# Half a gigabyte of weights is read, and proved by reading with them.
_MAX_START_S = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One repetition: what was generated, in what time."""

    num_samples: int
    num_tokens: int
    num_searches: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way of running, medians over the repetitions."""

    way: str
    tokens_per_s: float
    samples_per_s: float
    searches_per_sample: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What every way is asked for."""

    num_sequences: int
    max_new_tokens: int
    size: int

    def prompts(self, repetition: int) -> list[str]:
        """Prompts that no earlier repetition had: nothing comes from the prefix cache."""
        task = AssocRecall(size=self.size)
        samples = [
            task.sample(Split.TRAIN, repetition, index) for index in range(self.num_sequences)
        ]
        way = Way(prompting=Prompting.SEARCH, retrieval=Mode.REGEX)
        return [render(task, sample, way) for sample in samples]


def measured(ends: Sequence[Finished | pb.Finished], seconds: float) -> Measured:
    """What these completions are together."""
    return Measured(
        num_samples=len(ends),
        num_tokens=sum(end.num_generated_tokens for end in ends),
        num_searches=sum(end.num_searches for end in ends),
        seconds=seconds,
    )


class InProcess:
    """The engine on its thread, without gRPC or a second process. Belongs to one event loop."""

    def __init__(self, checkpoint: Checkpoint[SequenceModel], num_slots: int) -> None:
        self._codec = checkpoint.codec
        self._backend = backend_in_process(
            checkpoint,
            retriever=LocalRetriever(),
            options=EngineOptions(num_slots=num_slots),
            max_prompt_tokens=2**31,
            name="benchmark",
        )

    async def start(self) -> None:
        """Warms the engine up."""
        await self._backend.start()

    async def run(self, prompts: list[str], max_new_tokens: int, *, searches: bool) -> Measured:
        """All prompts at once, to their ends."""
        began = time.perf_counter()
        retrieval = Retrieval(mode=Mode.REGEX) if searches else None
        stopping = Stopping(max_new_tokens=max_new_tokens, ignore_eos=True)
        ends = await asyncio.gather(
            *[self._complete(prompt, stopping, retrieval) for prompt in prompts]
        )
        return measured(ends, time.perf_counter() - began)

    async def _complete(
        self, prompt: str, stopping: Stopping, retrieval: Retrieval | None
    ) -> Finished:
        job = Job(
            prompt_ids=self._codec.encode(prompt).ids,
            sampling=Sampling(),
            stopping=stopping,
            retrieval=retrieval,
            arrived_ns=time.monotonic_ns(),
        )
        *_, last = [event async for event in self._backend.generate(job)]
        if not isinstance(last, Finished):
            raise RuntimeError("a completion ended without Finished")
        return last

    async def close(self) -> None:
        """Ends the engine."""
        await self._backend.close()


class ThroughGrpc:
    """A server in another process, and one channel to it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)

    async def run(self, prompts: list[str], max_new_tokens: int, *, searches: bool) -> Measured:
        """All prompts at once, to their ends."""
        began = time.perf_counter()
        ends = await asyncio.gather(
            *[self._complete(prompt, max_new_tokens, searches=searches) for prompt in prompts]
        )
        return measured(ends, time.perf_counter() - began)

    async def _complete(self, prompt: str, max_new_tokens: int, *, searches: bool) -> pb.Finished:
        request = pb.GenerateRequest(
            text=prompt,
            stopping=pb.StoppingOptions(max_new_tokens=max_new_tokens, ignore_eos=True),
        )
        if searches:
            request.retrieval.mode = retrieval_pb2.RETRIEVAL_MODE_REGEX
        finished = None
        async for response in self._stub.Generate(request):
            if response.WhichOneof("event") == "finished":
                finished = response.finished
        if finished is None:
            raise RuntimeError("a stream ended without Finished")
        return finished


async def measure(
    checkpoint_folder: Path, load: Load, *, repetitions: int, threads: int
) -> list[Row]:
    """Runs every way `repetitions` times in alternation, after one round that is not counted."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    in_process = InProcess(load_checkpoint(checkpoint_folder), load.num_sequences)
    await in_process.start()
    limit = load.max_new_tokens
    async with through_grpc(checkpoint_folder, load.num_sequences, threads) as remote:
        ways: dict[str, Callable[[list[str]], Awaitable[Measured]]] = {
            "rnn, engine in process": lambda p: in_process.run(p, limit, searches=False),
            "rnn, through gRPC": lambda p: remote.run(p, limit, searches=False),
            "rnn-rag, engine in process": lambda p: in_process.run(p, limit, searches=True),
            "rnn-rag, through gRPC": lambda p: remote.run(p, limit, searches=True),
        }
        rounds: dict[str, list[Measured]] = {way: [] for way in ways}
        for repetition in range(repetitions + 1):
            prompts = load.prompts(repetition)
            for way, run in ways.items():
                rounds[way].append(await run(prompts))
    await in_process.close()
    return [summarize(way, rows[1:]) for way, rows in rounds.items()]


@contextlib.asynccontextmanager
async def through_grpc(
    checkpoint: Path, num_slots: int, threads: int | None
) -> AsyncIterator[ThroughGrpc]:
    """A server of its own for as long as the block runs; `threads`: None where it chooses."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/server.sock"
        server = start_server(checkpoint, address, num_slots, threads)
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                await asyncio.wait_for(until_serving(channel), timeout=_MAX_START_S)
                yield ThroughGrpc(channel)
        finally:
            server.terminate()
            server.wait(timeout=20)


async def until_serving(channel: grpc.aio.Channel) -> None:
    """Returns once the server says that it is healthy."""
    await channel.channel_ready()
    watch: Any = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    async for answer in watch:
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return


def start_server(
    checkpoint: Path, address: str, num_slots: int, threads: int | None, *more: str
) -> subprocess.Popen[bytes]:
    """`harness_servers.command` in a process of its own; `more`: options of it."""
    command = [
        sys.executable,
        "-m",
        "harness_servers.command",
        str(checkpoint),
        "--listen",
        address,
    ]
    options = ["--slots", str(num_slots), *more]
    if threads is not None:
        options += ["--threads", str(threads)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(command + options, env={**os.environ, "PYTHONPATH": path})


def summarize(way: str, repetitions: list[Measured]) -> Row:
    """Medians over the repetitions."""
    return Row(
        way=way,
        tokens_per_s=statistics.median(m.num_tokens / m.seconds for m in repetitions),
        samples_per_s=statistics.median(m.num_samples / m.seconds for m in repetitions),
        searches_per_sample=statistics.median(m.num_searches / m.num_samples for m in repetitions),
    )


def ratios(rows: list[Row]) -> dict[str, float]:
    """What the rows are measured for."""
    by_way = {row.way: row.tokens_per_s for row in rows}
    return {
        "gRPC / in process": by_way["rnn, through gRPC"] / by_way["rnn, engine in process"],
        "rnn-rag / rnn, through gRPC": by_way["rnn-rag, through gRPC"]
        / by_way["rnn, through gRPC"],
        "rnn-rag / rnn, in process": by_way["rnn-rag, engine in process"]
        / by_way["rnn, engine in process"],
    }


def main() -> None:
    """Prints a table and the ratios, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--size", type=int, default=16, help="pairs in a prompt")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = Load(
        num_sequences=options.sequences, max_new_tokens=options.max_new_tokens, size=options.size
    )
    rows = asyncio.run(
        measure(options.checkpoint, load, repetitions=options.repetitions, threads=options.threads)
    )
    if options.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "ratios": ratios(rows)}))
        return
    for row in rows:
        print(
            f"{row.way:28} {row.tokens_per_s:9.0f} tokens/s {row.samples_per_s:8.1f} samples/s "
            f"{row.searches_per_sample:6.1f} searches a sample"
        )
    for name, ratio in ratios(rows).items():
        print(f"{name:28} {ratio:9.2f}")


if __name__ == "__main__":
    main()
