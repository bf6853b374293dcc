"""The searches of one call are made side by side, and no other call waits for them."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.values import Mode

from harness_retrieval.contexts.context_store import ContextStore
from harness_retrieval.local import LocalRetriever
from harness_retrieval.retrieval_servicer import RetrievalServicer
from harness_retrieval.types import SearchRequest, SearchResult

TEXT = "a slow and another text"


class Call:
    """What a method asks its call, as gRPC has it."""

    def __init__(self, remaining_s: float | None = None) -> None:
        self._remaining_s = remaining_s

    def time_remaining(self) -> float | None:
        return self._remaining_s


CALL = Call()


class Gated(LocalRetriever):
    """Searches for "slow" only after another query of its call was searched and `go_on` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.other_is_searched = threading.Event()

    def search(self, requests: Sequence[SearchRequest]) -> list[SearchResult]:
        if requests[0].query == "slow":
            assert self.other_is_searched.wait(600)
            assert self.go_on.wait(600)
        if requests[0].query == "other":
            self.other_is_searched.set()
        return super().search(requests)


def call(*queries: str) -> pb.SearchContextsRequest:
    return pb.SearchContextsRequest(
        queries=[
            pb.ContextQuery(
                context_id="c", offset=len(TEXT), query=query, mode=pb.RETRIEVAL_MODE_REGEX
            )
            for query in queries
        ]
    )


async def test_other_searches_of_its_call_and_other_calls_go_on_beside_a_slow_search() -> None:
    retriever, contexts = Gated(), ContextStore()
    contexts.open("c", TEXT)
    with ThreadPoolExecutor(2) as executor, ThreadPoolExecutor(1) as costly:
        servicer = RetrievalServicer(
            contexts=contexts, retriever=retriever, executor=executor, costly_executor=costly
        )
        slow = asyncio.create_task(servicer.SearchContexts(call("slow", "other", "te.t"), CALL))
        await asyncio.to_thread(retriever.other_is_searched.wait, 600)
        quick = await asyncio.wait_for(servicer.SearchContexts(call("a.d"), CALL), 600)
        assert [result.text for result in quick.results] == ["and"]
        assert not slow.done()
        retriever.go_on.set()
        assert [result.text for result in (await slow).results] == ["slow", "other", "text"]


async def test_however_many_costly_searches_there_are_other_calls_go_on() -> None:
    class Costly(Gated):
        def is_costly(self, request: SearchRequest) -> bool:
            return request.query == "slow"

    retriever, contexts = Costly(), ContextStore()
    contexts.open("c", TEXT)
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as costly:
        servicer = RetrievalServicer(
            contexts=contexts, retriever=retriever, executor=executor, costly_executor=costly
        )
        slow = asyncio.create_task(servicer.SearchContexts(call(*["slow"] * 20), CALL))
        quick = await asyncio.wait_for(servicer.SearchContexts(call("other", "a.d"), CALL), 600)
        assert [result.text for result in quick.results] == ["other", "and"]
        assert not slow.done()
        retriever.go_on.set()
        assert {result.text for result in (await slow).results} == {"slow"}


def test_what_is_costly_is_known_from_pattern_and_text() -> None:
    def is_costly(pattern: str, length: int, mode: Mode = Mode.REGEX) -> bool:
        text = "a" * length
        return LocalRetriever().is_costly(
            SearchRequest(context_id="c", text=text, mode=mode, query=pattern)
        )

    hostile = "(?:[ -~]{1,100}){9}Q"
    assert is_costly(hostile, 20_000)
    assert not is_costly(hostile, 20)
    assert not is_costly(r"fem (\S+)", 100_000)
    assert not is_costly("(", 20_000)
    assert not is_costly(hostile, 20_000, Mode.DENSE)
