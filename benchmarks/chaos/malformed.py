"""Requests that are none, to each service; and patterns that make a search slow."""

import asyncio
import random
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from harnessapi.inference.v1 import inference_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2 as search
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as search_grpc

from benchmarks.chaos.asking import (
    Asked,
    connected,
    found,
    same_answer,
    searching_request,
    written,
)
from benchmarks.chaos.campaign import Check, Setting
from benchmarks.chaos.fuzzing import request
from benchmarks.chaos.servers import Fleet, Server, flat, search_server, still_there
from benchmarks.hostile_patterns import patterns, texts
from harness_retrieval.limits import MAX_CONTEXT_CHARACTERS
from harness_retrieval.regex.regex_search import MAX_WORK, work_per_byte

_AT_ONCE: Final = 16
_DEADLINE_S: Final = 20.0
# Of a stream so many messages are read: some requests are good by chance, and want millions.
_MOST_MESSAGES: Final = 4
# One connection in so many requests is sent what is no HTTP/2.
_CONNECTION_EVERY: Final = 100
_WARM_SHARE: Final = 0.1

MODEL_METHODS: Final[Mapping[str, type[Message]]] = {
    "/harnessapi.inference.v1.InferenceService/Generate": pb.GenerateRequest,
    "/harnessapi.inference.v1.InferenceService/Score": pb.ScoreRequest,
    "/harnessapi.inference.v1.InferenceService/Tokenize": pb.TokenizeRequest,
    "/harnessapi.inference.v1.InferenceService/GetModel": pb.GetModelRequest,
    "/harnessapi.inference.v1.InferenceService/NoSuchMethod": pb.GetModelRequest,
}
SEARCH_METHODS: Final[Mapping[str, type[Message]]] = {
    "/harnessapi.retrieval.v1.RetrievalService/OpenContext": search.OpenContextRequest,
    "/harnessapi.retrieval.v1.RetrievalService/SearchContexts": search.SearchContextsRequest,
    "/harnessapi.retrieval.v1.RetrievalService/CloseContexts": search.CloseContextsRequest,
    "/harnessapi.retrieval.v1.RetrievalService/NoSuchMethod": search.CloseContextsRequest,
}
GOOD_TO_MODEL: Final[Sequence[Message]] = (
    searching_request(0, size=4),
    pb.GenerateRequest(
        text="bab dok",
        stopping=pb.StoppingOptions(max_new_tokens=8, stop=["gik"]),
        sampling=pb.SamplingOptions(temperature=1.0, top_k=5, top_p=0.9, seed=7),
    ),
    pb.GenerateRequest(token_ids=pb.TokenIds(ids=[19, 11, 233])),
    pb.ScoreRequest(text="bab dok", continuation_text="fem gik", top_log_probs=3),
    pb.TokenizeRequest(text="bab dok ; fem"),
    pb.GetModelRequest(),
)
GOOD_TO_SEARCH: Final[Sequence[Message]] = (
    search.OpenContextRequest(context_id="a", text="bab dok ; fem gik"),
    search.SearchContextsRequest(
        queries=[
            search.ContextQuery(
                context_id="a",
                offset=17,
                appended_text=" ; gog lun",
                mode=search.RETRIEVAL_MODE_REGEX,
                query=r"bab (\S+)",
            ),
            search.ContextQuery(
                context_id="a", mode=search.RETRIEVAL_MODE_DENSE, query="fem", top_k=2
            ),
        ]
    ),
    search.CloseContextsRequest(context_ids=["a"]),
)


def malformed_to_model(setting: Setting) -> list[Check]:
    """Ten thousand of them to the model server."""
    folder = setting.own_folder("malformed-to-model")
    with Fleet(folder) as fleet:
        ask = Malformed(MODEL_METHODS, GOOD_TO_MODEL, setting.random("malformed-to-model"))
        return asyncio.run(
            _malformed(setting, fleet.model, ask, lambda channel: written(channel, _REFERENCE))
        )


def malformed_to_search(setting: Setting) -> list[Check]:
    """Ten thousand of them to the search service."""
    folder = setting.own_folder("malformed-to-search")
    with search_server(folder) as server:
        ask = Malformed(SEARCH_METHODS, GOOD_TO_SEARCH, setting.random("malformed-to-search"))
        return asyncio.run(_malformed(setting, server, ask, found))


def hostile_patterns(setting: Setting) -> list[Check]:
    """Two hundred patterns that make a search slow, each just under its limit."""
    folder = setting.own_folder("hostile-patterns")
    with search_server(folder) as server:
        return asyncio.run(_patterns(setting, server))


_REFERENCE: Final = searching_request(1)


class Malformed:
    """Sends what is drawn, and reads what comes back."""

    def __init__(
        self, methods: Mapping[str, type[Message]], good: Sequence[Message], rng: random.Random
    ) -> None:
        self.asked = Asked()
        self.kinds: Counter[str] = Counter()
        self._methods, self._good, self._rng = methods, good, rng

    async def send(self, channel: grpc.aio.Channel) -> None:
        """The next one, to its end or to what of a stream is enough."""
        kind, method, data = request(self._rng, self._methods, self._good)
        self.kinds[kind] += 1
        what = f"{kind} {method.rpartition('/')[2]} {data[:60].hex()}"
        await self.asked.ask(_exchange(channel, method, data), what)

    async def send_to_socket(self, path: str) -> None:
        """To one connection, bytes that are no HTTP/2, or no more of it than its beginning."""
        self.kinds["no HTTP/2"] += 1
        garbage = self._rng.randbytes(self._rng.randrange(2000))
        begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" if self._rng.random() < 0.5 else b""
        await asyncio.to_thread(_throw, path, begun + garbage)


async def _exchange(channel: grpc.aio.Channel, method: str, data: bytes) -> None:
    if not method.endswith("Generate"):
        unary: Any = channel.unary_unary(method)
        await unary(data, timeout=_DEADLINE_S)
        return
    stream: Any = channel.unary_stream(method)
    call, number = stream(data, timeout=_DEADLINE_S), 0
    async for _ in call:
        number += 1
        if number == _MOST_MESSAGES:
            call.cancel()
            return


def _throw(path: str, data: bytes) -> None:
    """The server may hang up at any byte."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_DEADLINE_S)
        try:
            connection.connect(path)
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        except OSError:
            return


async def _malformed(
    setting: Setting,
    server: Server,
    malformed: Malformed,
    reference: Callable[[grpc.aio.Channel], Awaitable[str]],
) -> list[Check]:
    number = setting.num(10_000, 400)
    path = server.address.removeprefix("unix:")
    async with connected(server.address) as channel:
        answer = await reference(channel)

        async def send(count: int) -> None:
            left = iter(range(count))

            async def work() -> None:
                for each in left:
                    if each % _CONNECTION_EVERY == 0:
                        await malformed.send_to_socket(path)
                    await malformed.send(channel)

            await asyncio.gather(*[work() for _ in range(_AT_ONCE)])

        num_warm = int(number * _WARM_SHARE)
        await send(num_warm)
        before = await asyncio.to_thread(server.look)
        await send(number - num_warm)
        after = await asyncio.to_thread(server.settled, before)
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in malformed.kinds.most_common())
        return [
            malformed.asked.check(),
            same_answer(answer, await reference(channel)),
            Check(
                what="every call ends before its deadline",
                is_kept=malformed.asked.codes["DEADLINE_EXCEEDED"] == 0,
                figures=f"{kinds}; the slowest took {malformed.asked.slowest_s:.1f} s",
            ),
            *flat(server, before, after),
            still_there(server),
        ]


async def _patterns(setting: Setting, server: Server) -> list[Check]:
    """One after the other, while a cheap search is asked again and again."""
    chosen = patterns(setting.num(200, 24), setting.seed)
    whole = list(texts(MAX_CONTEXT_CHARACTERS))
    asked, beside, outcomes = Asked(), Asked(), Counter[str]()
    async with connected(server.address) as channel, connected(server.address) as other:
        answer = await found(other)
        stub = search_grpc.RetrievalServiceStub(channel)

        async def search_one(number: int, pattern: str) -> None:
            name, text = whole[number % len(whole)]
            num_bytes = MAX_WORK // work_per_byte(pattern)
            cut = text[: num_bytes // (3 if name == "unicode" else 1)]
            opened = search.OpenContextRequest(context_id="hostile", text=cut)
            await stub.OpenContext(opened, timeout=_DEADLINE_S)
            query = search.ContextQuery(context_id="hostile", offset=len(cut), query=pattern)
            query.mode = search.RETRIEVAL_MODE_REGEX
            sent = search.SearchContextsRequest(queries=[query])
            results = (await stub.SearchContexts(sent, timeout=_DEADLINE_S)).results
            outcomes[search.SearchOutcome.Name(results[0].outcome)] += 1
            closed = search.CloseContextsRequest(context_ids=["hostile"])
            await stub.CloseContexts(closed, timeout=_DEADLINE_S)

        async def ask_beside() -> None:
            while True:
                await beside.ask(found(other))
                await asyncio.sleep(0.05)

        cheap = asyncio.create_task(ask_beside())
        for number, pattern in enumerate(chosen):
            if number == len(chosen) // 2:
                # By now as many compiled patterns are kept as ever are.
                before = await asyncio.to_thread(server.look)
            await asked.ask(search_one(number, pattern), pattern)
        cheap.cancel()
        await asyncio.wait([cheap])
        after = await asyncio.to_thread(server.settled, before)
        told = ", ".join(
            f"{count} {name.removeprefix('SEARCH_OUTCOME_')}" for name, count in outcomes.items()
        )
        return [
            asked.check(),
            Check(
                what="every pattern is searched or refused, none past its deadline",
                is_kept=outcomes.total() == len(chosen),
                figures=f"{told}; the slowest took {asked.slowest_s:.2f} s",
            ),
            Check(
                what="a cheap search beside them is answered",
                is_kept=beside.codes.total() == beside.codes["OK"] > 0,
                figures=f"{beside.number} times, the slowest took {beside.slowest_s:.2f} s",
            ),
            same_answer(answer, await found(other)),
            *flat(server, before, after),
            still_there(server),
        ]
