"""Workers of Ray: what a second one brings, what the driver pays, and where it has enough.

`python -m benchmarks.ray_scaling` needs the extra `ray`. It asks a fake that waits by one worker
and by two; measures the driver's processor time for batches of samples that come as fast as they
can; and from that simulates runs by up to 1,000 workers.
"""

import argparse
import asyncio
import heapq
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import free_port, running, wait_started
from harness.cluster.ray_library import RayExecutor, open_ray
from harness.cluster.shard_task import SampleDone
from harness.runs.store import create_run
from harness.scoring.exact import Verdict

_HARNESS: Final = (sys.executable, "-m", "harness")
_CONCURRENCY: Final = 8
_WORKERS: Final = (1, 10, 100, 200, 500, 1000)
# Of a worker that asks by 64 samples at once a model that takes so long for each.
_ANSWER_S: Final = (64.0, 8.0, 1.0)
_AT_ONCE: Final = 64
# As harness/cluster/shard_task.py and ray_session.py have them.
_LINGER_S: Final = 0.5
_MAX_BATCH: Final = 512
_MAX_OPEN: Final = 8


def samples_per_s(folder: Path, address: str, workers: int, samples: int, ray: str) -> float:
    """From the first sending to the last answer: Ray's own start is not counted."""
    (folder / "endpoints.toml").write_text(f'[far]\naddress = "{address}"\n')
    out = folder / f"by-{workers}"
    command = [*_HARNESS, "eval", "--endpoint", "far", "--task", "assoc_recall", "--size", "4"]
    command += ["--samples", str(samples * workers), "--concurrency", str(_CONCURRENCY), "-q"]
    command += ["--executor", ray, "--workers", str(workers), "--out", str(out)]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    [file] = out.glob("*/samples.jsonl")
    times = [json.loads(line)["times"] for line in file.read_text().splitlines()]
    begun_s: float = min(one["started_at_s"] for one in times)
    ended_s: float = max(one["finished_at_s"] for one in times)
    return len(times) / (ended_s - begun_s)


def replay(line: bytes, first: int, num_batches: int, size: int) -> Iterator[list[SampleDone]]:
    """As a worker that has all of its answers already."""
    for batch in range(num_batches):
        keys = (("cell", f"a/index={first + batch * size + n}", 0) for n in range(size))
        yield [SampleDone(key, line, Verdict.CORRECT) for key in keys]


def driver_costs(ray: Any, folder: Path, num_batches: int) -> tuple[float, float]:
    """Seconds of the driver for a batch, and for each sample in it."""
    store = create_run(folder / "replayed")
    line = b'{"cell":"' + b"x" * 1400 + b'"}\n'
    task = ray.remote(replay).options(num_returns="streaming", max_retries=0)
    counted = 0

    async def take(size: int) -> float:
        nonlocal counted
        began = time.process_time()
        async for reference in task.remote(line, counted, num_batches, size):
            for one in await reference:
                store.add_line(one.key, one.line)
        counted += num_batches * size
        return (time.process_time() - began) / num_batches

    asyncio.run(take(1))  # the first time it starts a worker
    small_s, large_s = asyncio.run(take(1)), asyncio.run(take(_MAX_BATCH))
    store.close()
    sample_s = (large_s - small_s) / (_MAX_BATCH - 1)
    return small_s - sample_s, sample_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """What so many workers come to."""

    workers: int
    answer_s: float
    # Of what the workers could do.
    efficiency: float
    driver_busy: float
    samples_per_s: float


def simulate(workers: int, answer_s: float, batch_s: float, sample_s: float) -> Simulated:
    """One driver takes batches in turn; each worker has a few open at most."""
    rate = _AT_ONCE / answer_s
    period_s = max(_LINGER_S, 1 / rate)
    size = min(_MAX_BATCH, max(1.0, rate * period_s))
    period_s, service_s, end_s = size / rate, batch_s + size * sample_s, 120.0
    ready = [(period_s * (1 + number / workers), number) for number in range(workers)]
    heapq.heapify(ready)
    taken: dict[int, list[float]] = {number: [] for number in range(workers)}
    free_s = busy_s = 0.0
    num_batches = 0
    while ready and ready[0][0] < end_s:
        at_s, number = heapq.heappop(ready)
        free_s = max(free_s, at_s) + service_s
        if free_s > end_s:
            continue
        busy_s, num_batches = busy_s + service_s, num_batches + 1
        taken[number].append(free_s)
        # The next is made meanwhile; it is handed out where there is room among the open ones.
        behind = taken[number][-_MAX_OPEN] if len(taken[number]) >= _MAX_OPEN else 0.0
        heapq.heappush(ready, (max(at_s + period_s, behind), number))
    done = num_batches * size / end_s
    return Simulated(
        workers=workers,
        answer_s=answer_s,
        efficiency=done / (workers * rate),
        driver_busy=busy_s / end_s,
        samples_per_s=done,
    )


def main() -> None:
    """Prints the rates of one worker and two, the driver's costs, and the simulation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=160, help="of each worker")
    parser.add_argument("--delay", type=float, default=1.0, help="of the fake, in seconds")
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--executor", default="ray")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "fake.json").write_text(json.dumps({"delay_s": options.delay}))
        address, log = f"127.0.0.1:{free_port()}", folder / "fake.log"
        command = [sys.executable, "-m", "harness.fakes.fake_server", str(folder)]
        with running([*command, "--listen", address], log) as fake:
            wait_started(lambda: "listening" in log.read_text(), fake, log, within_s=600)
            one, two = (
                samples_per_s(folder, address, num, options.samples, options.executor)
                for num in (1, 2)
            )
        print(f"1 worker {one:.1f} samples/s, 2 workers {two:.1f}: efficiency {two / one / 2:.3f}")
        with open_ray(RayExecutor.parse(options.executor)) as ray:
            batch_s, sample_s = driver_costs(ray, folder, options.batches)
    print(f"the driver: {batch_s * 1e3:.2f} ms a batch, {sample_s * 1e6:.1f} us a sample")
    for answer_s in _ANSWER_S:
        for workers in _WORKERS:
            found = simulate(workers, answer_s, batch_s, sample_s)
            print(
                f"{workers:5d} workers, an answer takes {answer_s:4.0f} s: "
                f"{found.samples_per_s:9.0f} samples/s, efficiency {found.efficiency:.3f}, "
                f"the driver busy {found.driver_busy:.2f}"
            )


if __name__ == "__main__":
    main()
