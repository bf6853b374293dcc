"""What hostile searches cost: the worst just under the limit, and what a stream beside them waits.

`python -m benchmarks.hostile_searches`. Streams alone and beside searches take turns in one run.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2
from harnessapi.values import Mode

from benchmarks.hostile_patterns import patterns, texts
from benchmarks.serving import DEFAULT_CHECKPOINT, start_server
from harness.sample import Split
from harness.tasks.assoc_recall import AssocRecall
from harness.tasks.prompts import render
from harness.way import Prompting, Way
from harness_retrieval.limits import MAX_CONTEXT_CHARACTERS
from harness_retrieval.regex.regex_search import MAX_WORK, search_regex, work_per_byte

_MIN_CHARACTERS = 10_000  # a program may be larger than the limit allows for such a text
# Every character keeps every repeat alive: more than a second on a text just under the limit.
_SLOW = "(?:[ -~]{1,100}){9}" * 4 + "Q"


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """One search just under the limit, in seconds of one core."""

    seconds: float
    num_characters: int
    text: str
    pattern: str


def time_searches(num_patterns: int, seed: int) -> list[Timed]:
    """Every pattern on every text, cut to what the limit just allows; the slowest first."""
    found = []
    whole = dict(texts(MAX_CONTEXT_CHARACTERS))
    for pattern in patterns(num_patterns, seed):
        num_bytes = MAX_WORK // work_per_byte(pattern)
        for name, text in whole.items():
            cut = text[: num_bytes // (3 if name == "unicode" else 1)]
            if len(cut) < _MIN_CHARACTERS:
                continue
            began = time.thread_time()  # what others do on this machine is not counted
            search_regex(cut, pattern)
            seconds = time.thread_time() - began
            found.append(
                Timed(seconds=seconds, num_characters=len(cut), text=name, pattern=pattern)
            )
    return sorted(found, key=lambda timed: -timed.seconds)


class Streams:
    """What a server's clients ask for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = inference_pb2_grpc.InferenceServiceStub(channel)

    async def intervals_ms(self, num_tokens: int) -> list[float]:
        """Between the messages of one stream that searches nothing."""
        stopping = pb.StoppingOptions(max_new_tokens=num_tokens, ignore_eos=True)
        arrived = []
        async for _ in self._stub.Generate(pb.GenerateRequest(text="bab", stopping=stopping)):
            arrived.append(time.perf_counter() * 1e3)
        return [after - before for before, after in pairwise(arrived)]

    async def search_for_ever(self, searching: asyncio.Event) -> None:
        """One sequence after the other, each with a query that stands for the slow pattern."""
        request = slow_search()
        while True:
            async for response in self._stub.Generate(request):
                if response.WhichOneof("event") == "retrieval_step":
                    if response.retrieval_step.outcome != retrieval_pb2.SEARCH_OUTCOME_NOT_FOUND:
                        raise RuntimeError(f"no slow search: {response.retrieval_step}")
                    searching.set()


def slow_search() -> pb.GenerateRequest:
    """A completion with a query that stands for the slow pattern."""
    stopping = pb.StoppingOptions(max_new_tokens=16)
    request = pb.GenerateRequest(text=_long_prompt(), stopping=stopping)
    request.retrieval.mode = retrieval_pb2.RETRIEVAL_MODE_REGEX
    for num_words in range(1, 9):
        words = " ".join(f"${slot}" for slot in range(1, num_words + 1))
        request.retrieval.abbreviations.add(query=words, pattern=_SLOW)
    return request


def _long_prompt() -> str:
    """A question that is searched for, behind as much text as the limit allows for the pattern."""
    task = AssocRecall(size=AssocRecall.max_size)
    sample = task.sample(Split.TEST, 0, 0)
    prompt = render(task, sample, Way(prompting=Prompting.SEARCH, retrieval=Mode.REGEX))
    name, _, pairs = sample.context.partition(" ")
    num_repeats = int(0.9 * MAX_WORK / work_per_byte(_SLOW) - len(prompt)) // len(pairs)
    return f"{name} {f'{pairs} ' * num_repeats}{prompt.removeprefix(name).strip()}"


async def measure_stream(
    checkpoint: Path, *, num_hostile: int, turns: int, num_tokens: int
) -> dict[str, list[float]]:
    """Milliseconds between messages, "alone" and "beside", in turns."""
    intervals: dict[str, list[float]] = {"alone": [], "beside": []}
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/server.sock"
        server = start_server(checkpoint, address, 2 * num_hostile, threads=1)
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                await asyncio.wait_for(channel.channel_ready(), timeout=60)
                streams = Streams(channel)
                for _ in range(turns):
                    intervals["alone"] += await streams.intervals_ms(num_tokens)
                    events = [asyncio.Event() for _ in range(num_hostile)]
                    hostile = [asyncio.create_task(streams.search_for_ever(e)) for e in events]
                    await asyncio.wait(
                        [*hostile, asyncio.create_task(_all_set(events))],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    intervals["beside"] += await streams.intervals_ms(num_tokens)
                    for task in hostile:
                        task.cancel()
                    for end in await asyncio.gather(*hostile, return_exceptions=True):
                        if not isinstance(end, asyncio.CancelledError):
                            raise RuntimeError("a hostile stream ended") from end
        finally:
            server.terminate()
            server.wait(timeout=20)
    return intervals


async def _all_set(events: list[asyncio.Event]) -> None:
    for event in events:
        await event.wait()


def main() -> None:
    """Prints the worst searches, then the intervals and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--patterns", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hostile", type=int, default=6, help="sequences that search all the time")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=10_000, help="of the stream, in each turn")
    options = parser.parse_args()
    if options.patterns:
        timed = time_searches(options.patterns, options.seed)
        median_ms = statistics.median(each.seconds for each in timed) * 1e3
        print(f"{len(timed)} searches just under the limit: median {median_ms:.2f} ms, worst")
        for each in timed[:12]:
            print(
                f"{each.seconds:6.2f} s  {each.num_characters:9,} characters of {each.text:8}"
                f" {each.pattern[:80]}"
            )
    if options.turns:
        intervals = asyncio.run(
            measure_stream(
                options.checkpoint,
                num_hostile=options.hostile,
                turns=options.turns,
                num_tokens=options.tokens,
            )
        )
        quantiles = {way: statistics.quantiles(each, n=100) for way, each in intervals.items()}
        for place, name in ((49, "p50"), (98, "p99")):
            alone, beside = quantiles["alone"][place], quantiles["beside"][place]
            print(
                f"{name} between messages: alone {alone:.1f} ms, beside {options.hostile} hostile"
                f" sequences {beside:.1f} ms, ratio {beside / alone:.2f}"
            )


if __name__ == "__main__":
    main()
