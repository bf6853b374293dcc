"""Very many streams at once, and streams that their clients leave in every way there is."""

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import grpc
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.inference.v1 import inference_pb2_grpc as pb_grpc

from benchmarks.chaos.asking import Asked, connected, same_answer, searching_request, written
from benchmarks.chaos.campaign import Check, Setting
from benchmarks.chaos.servers import Fleet, flat, still_there, wait_until
from benchmarks.hostile_requests import Neighbour
from benchmarks.hostile_searches import slow_search
from benchmarks.prompts import make_prompt, make_prompts
from benchmarks.streams import ask_all

_TOKENS: Final = 128
_ENDLESS: Final = pb.StoppingOptions(max_new_tokens=100_000, ignore_eos=True)
# Fewer slots than streams under way: some are left in the queue.
_FEW_SLOTS: Final = 8
_AT_ONCE: Final = 24
_REFERENCE: Final = searching_request(2)


def many_streams(setting: Setting) -> list[Check]:
    """A thousand at once, some of them read slowly."""
    with Fleet(setting.own_folder("many-streams")) as fleet:
        return asyncio.run(_many(setting, fleet))


def cancels(setting: Setting) -> list[Check]:
    """Five hundred streams that nobody reads to their ends."""
    with Fleet(setting.own_folder("cancels"), num_slots=_FEW_SLOTS) as fleet:
        return asyncio.run(_cancels(setting, fleet))


async def _many(setting: Setting, fleet: Fleet) -> list[Check]:
    server, number = fleet.model, setting.num(1000, 60)
    async with connected(server.address) as channel:
        answer = await written(channel, _REFERENCE)
        stub = pb_grpc.InferenceServiceStub(channel)
        await ask_all(stub, make_prompts(64, 16, 64, setting.seed), _TOKENS, 0)
        before = await asyncio.to_thread(server.look)
        prompts = make_prompts(number, 16, 64, setting.seed + 1)
        done = await ask_all(stub, prompts, _TOKENS, number // 50)
        at_end = await asyncio.to_thread(server.look)
        after = await asyncio.to_thread(server.settled, before)
        codes = ", ".join(f"{count} {code}" for code, count in done.codes.items())
        return [
            Check(
                what="every stream ends well, with all its tokens",
                is_kept=done.codes == {"OK": number} and done.num_tokens == number * _TOKENS,
                figures=f"{codes}, {done.num_tokens:,} tokens, the quick ones after "
                f"{done.quick_s:.1f} s; then {at_end}",
            ),
            same_answer(answer, await written(channel, _REFERENCE)),
            *flat(server, before, after),
            still_there(server),
        ]


class _Leaving:
    """The ways to leave a stream; each begins one and ends it before its end."""

    def __init__(self, channel: grpc.aio.Channel, address: str, rng: random.Random) -> None:
        self.asked = Asked()
        self._channel, self._address, self._rng = channel, address, rng
        self.ways: Mapping[str, Callable[[], Awaitable[None]]] = {
            "before its first message": self._at_once,
            "after some messages": self._after_some,
            "by a deadline": self._deadline,
            "with its channel": self._with_channel,
            "in the middle of a search": self._searching,
            "without reading": self._unread,
            "of a score": self._score,
        }

    def _generate(self, channel: grpc.aio.Channel | None = None, **options: Any) -> Any:
        text = make_prompt(self._rng.randint(4, 200), str(self._rng.random()))
        request = pb.GenerateRequest(text=text, stopping=_ENDLESS)
        stub = pb_grpc.InferenceServiceStub(channel or self._channel)
        return stub.Generate(request, **options)

    async def _at_once(self) -> None:
        call = self._generate()
        await asyncio.sleep(self._rng.uniform(0, 0.05))
        call.cancel()
        await self.asked.ask(_read(call))

    async def _after_some(self) -> None:
        await self.asked.ask(_read(self._generate(), most=self._rng.randint(1, 20)))

    async def _deadline(self) -> None:
        await self.asked.ask(_read(self._generate(timeout=self._rng.uniform(0.001, 0.5))))

    async def _with_channel(self) -> None:
        async with connected(self._address) as channel:
            call = self._generate(channel)
            reading = asyncio.create_task(self.asked.ask(_read(call)))
            await asyncio.sleep(self._rng.uniform(0, 0.2))
        await reading

    async def _searching(self) -> None:
        call: Any = pb_grpc.InferenceServiceStub(self._channel).Generate(_SLOW_SEARCH)
        reading = asyncio.create_task(self.asked.ask(_read(call)))
        await asyncio.sleep(self._rng.uniform(0.0, 0.5))
        call.cancel()
        await reading

    async def _unread(self) -> None:
        """What nobody reads waits in the server."""
        call = self._generate()
        await asyncio.sleep(self._rng.uniform(0.1, 0.5))
        call.cancel()
        await self.asked.ask(_read(call))

    async def _score(self) -> None:
        text = make_prompt(2000, str(self._rng.random()))
        request = pb.ScoreRequest(text="bab", continuation_text=text)
        call: Any = pb_grpc.InferenceServiceStub(self._channel).Score(request)
        await asyncio.sleep(self._rng.uniform(0, 0.02))
        call.cancel()
        await self.asked.ask(_answer(call))


_SLOW_SEARCH: Final = slow_search()


async def _cancels(setting: Setting, fleet: Fleet) -> list[Check]:
    server, rng = fleet.model, setting.random("cancels")
    number, num_killed = setting.num(500, 40), setting.num(5, 1)
    async with connected(server.address) as channel:
        answer = await written(channel, _REFERENCE)
        leaving = _Leaving(channel, server.address, rng)
        names = list(leaving.ways)

        async def leave(first: int, end: int) -> None:
            left = iter(range(first, end))

            async def work() -> None:
                for each in left:
                    await leaving.ways[names[each % len(names)]]()

            await asyncio.gather(*[work() for _ in range(_AT_ONCE)])

        num_warm = number // 5
        await leave(0, num_warm)
        # Channels of ours that were closed live on in cycles, and hold their connections.
        gc.collect()
        before = await asyncio.to_thread(server.look)
        search_before = await asyncio.to_thread(fleet.search.look)
        await asyncio.gather(
            leave(num_warm, number - num_killed),
            _kill_processes(server.address, num_killed),
        )
        is_idle = await asyncio.to_thread(
            wait_until,
            lambda: server.said("harness_slots_in_use") + server.said("harness_queued") == 0,
        )
        is_forgotten = await asyncio.to_thread(
            wait_until, lambda: fleet.search.said("harness_contexts") == 0
        )
        gc.collect()
        after = await asyncio.to_thread(server.settled, before)
        search_after = await asyncio.to_thread(fleet.search.settled, search_before)
        return [
            leaving.asked.check(),
            Check(
                what="slots, queue and contexts are empty afterwards",
                is_kept=is_idle and is_forgotten,
                figures=f"{number} streams left in {len(names) + 1} ways, {num_killed} of them by "
                f"a client that was killed; {fleet.search.said('harness_contexts'):.0f} contexts",
            ),
            same_answer(answer, await written(channel, _REFERENCE)),
            *flat(server, before, after),
            *flat(fleet.search, search_before, search_after),
            still_there(server),
        ]


async def _kill_processes(address: str, number: int) -> None:
    for _ in range(number):
        neighbour = await Neighbour.start(address)
        neighbour.begin(100_000)
        await asyncio.sleep(3.0)
        await neighbour.kill()


async def _read(call: Any, most: int | None = None) -> None:
    number = 0
    async for _ in call:
        number += 1
        if number == most:
            call.cancel()
            return


async def _answer(call: Any) -> None:
    await call
