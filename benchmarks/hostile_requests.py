"""What hostile requests do to a server and to a neighbour's stream: codes, memory, intervals.

`python -m benchmarks.hostile_requests [CHECKPOINT]` starts a server of a model and one of the
search, and sends both what no client should. Streams alone and beside it take turns in one run.
With `--each SECONDS` every kind is sent by itself for so long, and has a line of its own; `--only
WORDS` leaves out the kinds whose names lack them.
"""

import argparse
import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc
from harnessapi.retrieval.v1 import retrieval_pb2 as search
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as search_grpc

from benchmarks.processes import resident_with_engine_mib, start_retrieval
from benchmarks.serving import DEFAULT_CHECKPOINT, start_server

_DEADLINE_S: Final = 5.0
_ENDLESS: Final = pb.StoppingOptions(max_new_tokens=4_000_000_000, ignore_eos=True)
_LARGE: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
# A search of ours, in a prompt of so many pairs of words.
_NUM_PASSAGES: Final = 43_000

Request = Callable[[], Awaitable[Any]]


async def _drain(call: Any) -> None:
    async for _ in call:
        pass


def hostile_to_model(channel: grpc.aio.Channel) -> Mapping[str, Request]:
    """What is sent to the model's server, by name."""
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    raw: Any = channel.unary_stream("/harnessapi.inference.v1.InferenceService/Generate")
    raw_tokenize: Any = channel.unary_unary("/harnessapi.inference.v1.InferenceService/Tokenize")
    unknown = " ".join(f"x{number}" for number in range(10_000))
    # Written once: the sender is to spend its time on sending.
    known, known_4 = (
        pb.GenerateRequest(text="bab " * (mib * 2**18)).SerializeToString() for mib in (60, 4)
    )
    one_word = pb.TokenizeRequest(text="b" * (63 * 2**20)).SerializeToString()

    def generate(**fields: Any) -> Any:
        return stub.Generate(pb.GenerateRequest(**fields), timeout=_DEADLINE_S)

    def with_stops(stops: list[str]) -> Any:
        stopping = pb.StoppingOptions(stop=stops, max_new_tokens=64, ignore_eos=True)
        return generate(text="bab", stopping=stopping)

    return {
        "tokenize unknown words": lambda: stub.Tokenize(
            pb.TokenizeRequest(text=unknown), timeout=_DEADLINE_S
        ),
        "generate unknown words": lambda: _drain(generate(text=unknown)),
        "60 MiB of known words": lambda: _drain(raw(known, timeout=_DEADLINE_S)),
        "4 MiB of known words": lambda: _drain(raw(known_4, timeout=_DEADLINE_S)),
        "a word of 63 MiB": lambda: raw_tokenize(one_word, timeout=_DEADLINE_S),
        "100,000 stop strings": lambda: _drain(with_stops(["ab"] * 100_000)),
        "16 long stop strings": lambda: _drain(with_stops([f"{'b' * 254}{n}" for n in range(16)])),
        "bytes that are no message": lambda: _drain(raw(b"\xff" * 99, timeout=_DEADLINE_S)),
        "endless completion": lambda: _drain(
            stub.Generate(pb.GenerateRequest(text="bab", stopping=_ENDLESS), timeout=0.2)
        ),
    }


def hostile_to_search(channel: grpc.aio.Channel) -> Mapping[str, Request]:
    """What is sent to the search service, by name."""
    stub = search_grpc.RetrievalServiceStub(channel)
    raw: Any = channel.unary_unary("/harnessapi.retrieval.v1.RetrievalService/SearchContexts")
    rng = random.Random(0)
    blank, pairs = "b;" * 2_000_000, _pairs(rng)

    async def ask(text: str, separators: list[str], num_queries: int = 1) -> None:
        name = str(rng.random())
        await stub.OpenContext(
            search.OpenContextRequest(context_id=name, text=text), timeout=_DEADLINE_S
        )
        query = search.ContextQuery(context_id=name, offset=len(text), query="bab")
        query.mode = search.RETRIEVAL_MODE_DENSE
        for separator in separators:
            query.passage_separator = separator
            await stub.SearchContexts(
                search.SearchContextsRequest(queries=[query] * num_queries), timeout=_DEADLINE_S
            )

    return {
        "a context of 2,000,000 passages": lambda: ask(blank, [";"]),
        "six separators over one context": lambda: ask(pairs[:60_000], list("abcdef")),
        "100,000 queries in one call": lambda: ask("bab", [";"], 100_000),
        "bytes that are no message (search)": lambda: raw(b"\xff" * 99, timeout=_DEADLINE_S),
        "first dense search": lambda: ask(pairs, [";"]),
    }


def _pairs(rng: random.Random) -> str:
    words = ["".join(rng.choices("bcdfghjk", k=3)) for _ in range(2000)]
    return " ; ".join(" ".join(rng.choices(words, k=2)) for _ in range(_NUM_PASSAGES))


class Sender:
    """Sends requests by turns, so many at once, and counts what became of them."""

    def __init__(self, requests: Mapping[str, Request], *, at_once: int) -> None:
        self.codes: dict[str, Counter[str]] = defaultdict(Counter)
        self.num_sent = 0
        self._requests = list(requests.items())
        self._at_once = at_once

    async def send(self, number: int) -> None:
        """Returns when all of them have ended."""
        end = self.num_sent + number
        await self._send_while(lambda: self.num_sent < end)

    async def send_for(self, seconds: float) -> None:
        """Begins no request after so long."""
        end = time.perf_counter() + seconds
        await self._send_while(lambda: time.perf_counter() < end)

    async def _send_while(self, goes_on: Callable[[], bool]) -> None:
        async def work() -> None:
            while goes_on():
                name, request = self._requests[self.num_sent % len(self._requests)]
                self.num_sent += 1
                try:
                    await request()
                    self.codes[name]["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    self.codes[name][error.code().name] += 1

        await asyncio.gather(*[work() for _ in range(self._at_once)])


class Neighbour:
    """A process that streams beside what is sent, and times what it receives.

    Started before the sender lowers its own priority, which the process would inherit.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, address: str) -> "Neighbour":
        """One that connects when it is first asked."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.neighbour", address),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        return cls(process)

    async def intervals_ms(self, num_tokens: int) -> list[float]:
        """Milliseconds between the messages of one stream of so many tokens."""
        assert self._process.stdout is not None
        self.begin(num_tokens)
        return [float(each) for each in (await self._process.stdout.readline()).split()]

    def begin(self, num_tokens: int) -> None:
        """Lets it ask for a stream of so many tokens."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{num_tokens}\n".encode())

    async def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """Waits for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


async def measure(options: argparse.Namespace, folder: str) -> None:
    """Starts both servers, and prints everything."""
    addresses = [f"unix:{folder}/model.sock", f"unix:{folder}/search.sock"]
    servers = [
        start_server(options.checkpoint, addresses[0], 64, threads=1),
        start_retrieval(addresses[1]),
    ]
    neighbour = await Neighbour.start(addresses[0])
    # Senders are elsewhere: what they take of this machine is not what they do to a neighbour.
    os.nice(19)
    try:
        async with (
            grpc.aio.insecure_channel(addresses[0], options=_LARGE) as model,
            grpc.aio.insecure_channel(addresses[1], options=_LARGE) as searching,
        ):
            for channel in (model, searching):
                await asyncio.wait_for(channel.channel_ready(), timeout=120)
            kinds = [
                {name: request for name, request in each.items() if options.only in name}
                for each in (hostile_to_model(model), hostile_to_search(searching))
            ]
            if options.each is None:
                await _measure_together(options, neighbour, kinds, [s.pid for s in servers])
            else:
                await _measure_each(options, neighbour, kinds, [s.pid for s in servers])
    finally:
        await neighbour.stop()
        for server in servers:
            os.kill(server.pid, signal.SIGTERM)
            server.wait(timeout=60)


async def _measure_together(
    options: argparse.Namespace,
    neighbour: Neighbour,
    kinds: Sequence[Mapping[str, Request]],
    pids: Sequence[int],
) -> None:
    """All kinds by turns, to both servers at once."""
    intervals: dict[str, list[float]] = {"alone": [], "beside": []}
    senders = [Sender(kinds[0], at_once=options.at_once), Sender(kinds[1], at_once=2)]
    before = [resident_with_engine_mib(pid) for pid in pids]
    began = time.perf_counter()
    for _ in range(options.turns):
        intervals["alone"] += await neighbour.intervals_ms(options.tokens)
        sending = asyncio.gather(
            senders[0].send(options.requests // options.turns),
            senders[1].send(options.searches // options.turns),
        )
        while not sending.done():
            intervals["beside"] += await neighbour.intervals_ms(options.tokens)
        await sending
    _print(senders, intervals, before, [resident_with_engine_mib(pid) for pid in pids])
    print(f"{time.perf_counter() - began:.0f} s")


async def _measure_each(
    options: argparse.Namespace,
    neighbour: Neighbour,
    kinds: Sequence[Mapping[str, Request]],
    pids: Sequence[int],
) -> None:
    """One kind after another."""
    for name, request in [*kinds[0].items(), *kinds[1].items()]:
        sender = Sender({name: request}, at_once=2)
        alone = statistics.quantiles(await neighbour.intervals_ms(options.tokens), n=100)
        sending = asyncio.create_task(sender.send_for(options.each))
        quantiles = statistics.quantiles(await neighbour.intervals_ms(options.tokens), n=100)
        await sending
        places = ((49, "p50"), (98, "p99"))
        ratios = [f"{p} {alone[n]:.1f} to {quantiles[n]:.1f} ms" for n, p in places]
        memory = "/".join(f"{resident_with_engine_mib(pid):.0f}" for pid in pids)
        print(
            f"{name:36} {', '.join(ratios)}, {memory} MiB, {dict(sender.codes[name])}", flush=True
        )


def _print(
    senders: list[Sender],
    intervals: Mapping[str, list[float]],
    before: list[float],
    after: list[float],
) -> None:
    for sender in senders:
        print(f"{sender.num_sent} requests")
        for name, codes in sender.codes.items():
            print(f"  {name:36} " + ", ".join(f"{n} {code}" for code, n in codes.items()))
    for name, one, other in zip(("model", "search"), before, after, strict=True):
        print(f"resident memory of the {name} server: {one:.0f} MiB before, {other:.0f} after")
    quantiles = {way: statistics.quantiles(each, n=100) for way, each in intervals.items()}
    for place, name in ((49, "p50"), (98, "p99")):
        alone, beside = quantiles["alone"][place], quantiles["beside"][place]
        print(f"{name}: alone {alone:.1f} ms, beside {beside:.1f} ms, ratio {beside / alone:.2f}")


def main() -> None:
    """Starts both servers and sends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path, default=DEFAULT_CHECKPOINT)
    parser.add_argument("--requests", type=int, default=10_000, help="to the model's server")
    parser.add_argument("--searches", type=int, default=100, help="to the search service")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=4_000, help="of the stream, in each turn")
    parser.add_argument("--each", type=float, metavar="SECONDS", help="each kind by itself")
    parser.add_argument("--only", default="", metavar="WORDS", help="kinds with this in their name")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(options, folder))


if __name__ == "__main__":
    main()
