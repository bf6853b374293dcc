"""Ten minutes of everything at once, good and bad: do memory, descriptors and threads stay flat?"""

import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc as pb_grpc
from harnessapi.values import Mode

from benchmarks.chaos.asking import (
    Asked,
    connected,
    found,
    same_answer,
    searching_request,
    written,
)
from benchmarks.chaos.campaign import Check, Setting
from benchmarks.chaos.malformed import (
    GOOD_TO_MODEL,
    GOOD_TO_SEARCH,
    MODEL_METHODS,
    SEARCH_METHODS,
    Malformed,
)
from benchmarks.chaos.servers import MORE_FILES, MORE_THREADS, Fleet, Look, Server, still_there
from benchmarks.hostile_requests import hostile_to_model, hostile_to_search
from benchmarks.prompts import make_prompt

_LOOK_EVERY_S: Final = 2.0
_TELL_EVERY_S: Final = 60.0
_LARGE: Final = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
# Of the second half, the last quarter may lie above the one before by so much.
_MORE_SHARE: Final = 0.05
_MORE_MIB: Final = 16.0
_REFERENCE: Final = searching_request(3)

Load = Callable[[], Awaitable[Any]]


def mixed_load(setting: Setting) -> list[Check]:
    """Completions, searches, scores, hostile and malformed requests, cancels and connections."""
    with Fleet(setting.own_folder("mixed-load")) as fleet:
        return asyncio.run(_mixed(fleet, setting.random("mixed-load"), setting.num(600, 20)))


class _Load:
    """Each kind has workers of its own; so many seconds lie between two of a worker's requests."""

    def __init__(self, model: grpc.aio.Channel, fleet: Fleet) -> None:
        self.model, self.search = Asked(), Asked()
        self._stub = pb_grpc.InferenceServiceStub(model)
        self._channel, self._fleet = model, fleet

    async def completion(self, rng: random.Random) -> None:
        """Of a prompt that nobody sent before, drawn with a temperature."""
        request = pb.GenerateRequest(
            text=make_prompt(rng.randint(4, 400), str(rng.random())),
            stopping=pb.StoppingOptions(max_new_tokens=rng.randint(1, 200), ignore_eos=True),
            sampling=pb.SamplingOptions(temperature=1.0, seed=rng.randrange(2**32)),
        )
        await self.model.ask(written(self._channel, request), "completion")

    async def searching(self, rng: random.Random) -> None:
        """Of a question that is searched for."""
        mode = rng.choice([Mode.DENSE, Mode.REGEX])
        request = searching_request(rng.randrange(10**6), size=rng.choice([4, 16, 64]), mode=mode)
        await self.model.ask(written(self._channel, request), "searching")

    async def score(self, rng: random.Random) -> None:
        """Of a continuation."""
        words = make_prompt(rng.randint(1, 500), str(rng.random()))
        request = pb.ScoreRequest(text="bab", continuation_text=words, top_log_probs=5)
        await self.model.ask(self._stub.Score(request), "score")

    async def cancelled(self, rng: random.Random) -> None:
        """Of a stream that is left."""
        stopping = pb.StoppingOptions(max_new_tokens=10_000, ignore_eos=True)
        call: Any = self._stub.Generate(pb.GenerateRequest(text="bab", stopping=stopping))
        await asyncio.sleep(rng.uniform(0.0, 0.2))
        call.cancel()
        await self.model.ask(_read(call))

    async def connection(self, _: random.Random) -> None:
        """New to both servers, and closed again."""
        async with connected(self._fleet.model.address) as channel:
            stub = pb_grpc.InferenceServiceStub(channel)
            await self.model.ask(stub.GetModel(pb.GetModelRequest()))
        async with connected(self._fleet.search.address) as channel:
            await self.search.ask(found(channel))


async def _mixed(fleet: Fleet, rng: random.Random, seconds: float) -> list[Check]:
    servers = (fleet.model, fleet.search)
    async with (
        connected(fleet.model.address) as model,
        connected(fleet.search.address) as searching,
        grpc.aio.insecure_channel(fleet.model.address, options=_LARGE) as large,
        grpc.aio.insecure_channel(fleet.search.address, options=_LARGE) as large_search,
    ):
        answer = await written(model, _REFERENCE)
        load = _Load(model, fleet)
        malformed = Malformed(MODEL_METHODS, GOOD_TO_MODEL, rng)
        malformed_search = Malformed(SEARCH_METHODS, GOOD_TO_SEARCH, rng)
        malformed.asked, malformed_search.asked = load.model, load.search
        bad = _by_turns(hostile_to_model(large), load.model)
        bad_search = _by_turns(hostile_to_search(large_search), load.search)
        workers: Sequence[tuple[Load, int, float]] = (
            (lambda: load.completion(rng), 4, 0.1),
            (lambda: load.searching(rng), 4, 0.1),
            (lambda: load.score(rng), 1, 0.2),
            (lambda: load.cancelled(rng), 2, 0.2),
            (lambda: load.connection(rng), 1, 1.0),
            (lambda: malformed.send(model), 2, 0.1),
            (lambda: malformed_search.send(searching), 2, 0.1),
            (bad, 1, 1.0),
            (bad_search, 1, 2.0),
        )
        end_s = time.monotonic() + seconds
        looking = asyncio.create_task(_look(servers, load, end_s))
        await asyncio.gather(
            *[
                _work(request, pause_s, end_s, servers)
                for request, number, pause_s in workers
                for _ in range(number)
            ]
        )
        looks = await looking
        return [
            load.model.check(),
            load.search.check(),
            same_answer(answer, await written(model, _REFERENCE)),
            *[check for server in servers for check in flat_over_time(server.name, looks[server])],
            *map(still_there, servers),
        ]


def flat_over_time(name: str, looks: Sequence[Look]) -> list[Check]:
    """Of the second half, its two quarters compared: the first half is for caches to fill in."""
    quarter = len(looks) // 4
    third, last = looks[2 * quarter : 3 * quarter], looks[3 * quarter :]

    def medians(number: Callable[[Look], float]) -> tuple[float, float]:
        return statistics.median(map(number, third)), statistics.median(map(number, last))

    before, after = medians(lambda look: look.resident_mib - look.said_mib)
    said, said_after = medians(lambda look: look.said_mib)
    files, files_after = medians(lambda look: look.num_files)
    threads, threads_after = medians(lambda look: look.num_threads)
    most = before * _MORE_SHARE + _MORE_MIB
    peak = max(look.resident_mib for look in looks)
    return [
        Check(
            what=f"{name}: memory is flat in the second half (at most {most:.0f} MiB more)",
            is_kept=after - before <= most,
            figures=f"{after - before:+.0f} MiB: {before:.0f} to {after:.0f}, and what it keeps on "
            f"purpose {said:.0f} to {said_after:.0f}; at most {peak:.0f} in all",
        ),
        Check(
            what=f"{name}: descriptors and threads are flat in the second half",
            is_kept=files_after <= files + MORE_FILES and threads_after <= threads + MORE_THREADS,
            figures=f"{files:.0f} to {files_after:.0f} descriptors, "
            f"{threads:.0f} to {threads_after:.0f} threads",
        ),
    ]


async def _look(
    servers: Sequence[Server], load: _Load, end_s: float
) -> Mapping[Server, list[Look]]:
    """At all of them, again and again; tells how it goes."""
    looks: dict[Server, list[Look]] = {server: [] for server in servers}
    told_s = began_s = time.monotonic()
    while (now_s := time.monotonic()) < end_s:
        for server, seen in looks.items():
            seen.append(await asyncio.to_thread(server.look))
        if now_s - told_s >= _TELL_EVERY_S:
            told_s = now_s
            num_calls = load.model.number + load.search.number
            held = "; ".join(f"{server.name} {seen[-1]}" for server, seen in looks.items())
            print(f"mixed-load, {now_s - began_s:.0f} s: {num_calls:,} calls; {held}", flush=True)
        await asyncio.sleep(_LOOK_EVERY_S)
    return looks


async def _work(request: Load, pause_s: float, end_s: float, servers: Sequence[Server]) -> None:
    while time.monotonic() < end_s and all(server.is_running() for server in servers):
        await request()
        await asyncio.sleep(pause_s)


def _by_turns(requests: Mapping[str, Load], asked: Asked) -> Load:
    names = list(requests)
    turn = 0

    async def ask() -> None:
        nonlocal turn
        name = names[turn % len(names)]
        turn += 1
        await asked.ask(requests[name](), name)

    return ask


async def _read(call: Any) -> None:
    async for _ in call:
        pass
