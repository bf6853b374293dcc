"""The client sends each text once, opens contexts again when they are lost, and waits in bounds."""

import gc
import itertools
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.rpc.targets import TargetError
from harnessapi.values import Mode

from harness_retrieval.contexts.context_store import LIMITS
from harness_retrieval.contexts.sent_texts import SentTexts
from harness_retrieval.remote import RemoteRetriever
from harness_retrieval.types import RetrieverUnavailableError, SearchRequest


def ask(text: str, context_id: str = "c") -> SearchRequest:
    return SearchRequest(context_id=context_id, text=text, mode=Mode.REGEX, query=r"(\S+)$")


def last_words(retriever: RemoteRetriever, texts: Sequence[str]) -> list[str]:
    requests = [ask(text, f"c{index}") for index, text in enumerate(texts)]
    return [result.text for result in retriever.search(requests)]


def test_contexts_that_the_service_forgot_are_opened_again(
    start_service: Callable[..., Any],
) -> None:
    service = start_service(replace(LIMITS, max_contexts=2))
    retriever = RemoteRetriever(service.address, deadline_s=600)
    assert last_words(retriever, ["a", "b"]) == ["a", "b"]
    assert retriever.search([ask("x y", "other")])[0].text == "y"
    assert last_words(retriever, ["a aa aaa", "b bb bbb"]) == ["aaa", "bbb"]
    retriever.shutdown()


def test_a_search_waits_for_a_service_that_restarts(
    start_service: Callable[..., Any], tmp_path: Path
) -> None:
    service = start_service()
    retriever = RemoteRetriever(service.address, deadline_s=600)
    assert last_words(retriever, ["a b"]) == ["b"]
    service.stop()
    found: list[str] = []
    searching = threading.Thread(target=lambda: found.extend(last_words(retriever, ["a b c"])))
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.settimeout(600)
        deaf.bind(f"{tmp_path}/s.sock")
        deaf.listen()
        searching.start()
        deaf.accept()[0].close()
        assert found == []
    start_service()
    searching.join(600)
    assert found == ["c"]
    retriever.shutdown()


def test_a_service_that_is_not_there_is_given_up_at_the_deadline() -> None:
    # A thousand seconds pass whenever somebody looks: the second attempt is the last.
    now_s = itertools.count(0, 1000).__next__
    retriever = RemoteRetriever("unix:/nowhere/at-all.sock", deadline_s=4000, now_s=now_s)
    with pytest.raises(RetrieverUnavailableError, match=r"/nowhere/at-all\.sock.*UNAVAILABLE"):
        retriever.search([ask("a")])
    retriever.close_contexts(["c"])
    retriever.shutdown()
    with pytest.raises(RetrieverUnavailableError):
        retriever.search([ask("a")])


class Slow(pb_grpc.RetrievalServiceServicer):
    """Closes contexts once it may, and says whether the call was still there."""

    def __init__(self) -> None:
        self.is_closing, self.go_on = threading.Event(), threading.Event()
        self.was_there: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def OpenContext(self, request: Any, context: Any) -> Any:  # noqa: N802
        return pb.OpenContextResponse()

    def SearchContexts(self, request: Any, context: Any) -> Any:  # noqa: N802
        results = [pb.ContextResult(outcome=pb.SEARCH_OUTCOME_NOT_FOUND) for _ in request.queries]
        return pb.SearchContextsResponse(results=results)

    def CloseContexts(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.is_closing.set()
        assert self.go_on.wait(600)
        self.was_there.put(context.is_active())
        return pb.CloseContextsResponse()


def test_what_closes_a_context_is_not_cancelled_because_nobody_waits_for_it(
    tmp_path: Path,
) -> None:
    slow, address = Slow(), f"unix:{tmp_path}/s.sock"
    server = grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_RetrievalServiceServicer_to_server(slow, server)
    server.add_insecure_port(address)
    server.start()
    retriever = RemoteRetriever(address, deadline_s=600)
    retriever.search([ask("a b")])
    retriever.close_contexts(["c"])
    gc.collect()
    assert slow.is_closing.wait(600)
    # A later call on the connection: what would have been cancelled is by now.
    retriever.search([ask("a b", "other")])
    slow.go_on.set()
    assert slow.was_there.get(timeout=600)
    retriever.shutdown()
    server.stop(None).wait(600)


def test_an_address_that_cannot_be_read_is_refused_at_once() -> None:
    with pytest.raises(TargetError, match="nonsense"):
        RemoteRetriever("nonsense")


def test_many_threads_may_search_one_service(start_service: Callable[..., Any]) -> None:
    retriever = RemoteRetriever(start_service().address, deadline_s=600)
    failures: list[str] = []

    def search(name: int) -> None:
        own = shared = "start"
        for step in range(10):
            own += f" {name}-{step}"
            shared += f" {step}"
            found = retriever.search([ask(own, f"c{name}"), ask(shared, "shared")])
            if [result.text for result in found] != [f"{name}-{step}", f"{step}"]:
                failures.append(f"{own}: {found}")

    threads = [threading.Thread(target=search, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    retriever.shutdown()
    assert failures == []


def test_only_what_was_added_is_sent() -> None:
    sent = SentTexts()
    assert not sent.continues(ask("ab"))
    sent.record("c", "ab")
    assert sent.continues(ask("abc"))
    assert sent.advance(ask("abc")) == 2
    assert sent.advance(ask("abc")) == 3
    assert sent.advance(ask("a")) == 1
    assert not sent.continues(ask("xyz"))
    sent.forget(["c", "unknown"])
    assert not sent.continues(ask("abc"))
