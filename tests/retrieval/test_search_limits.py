"""What one context, or one call, may take: each limit at its edge."""

import time
from dataclasses import replace

import grpc
import pytest
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.retrieval.v1 import retrieval_pb2_grpc as pb_grpc
from harnessapi.values import Mode, Outcome

from harness_retrieval.dense.dense_index import MAX_PASSAGES, DenseContextIndex
from harness_retrieval.dense.embedding import HashingEmbedder
from harness_retrieval.local import LocalRetriever
from harness_retrieval.types import SearchAbandonedError, SearchRequest

QUERY = pb.ContextQuery(context_id="c", query="a", mode=pb.RETRIEVAL_MODE_REGEX)


def dense(text: str, **fields) -> SearchRequest:
    request = SearchRequest(context_id="c", text=text, mode=Mode.DENSE, query="bab")
    return replace(request, **{"passage_separator": ";", **fields})


def test_a_context_of_too_many_passages_keeps_its_text_alone() -> None:
    index = DenseContextIndex(HashingEmbedder(), ";")
    index.grow("b;" * 2_000_000)
    assert index.num_bytes < 4_100_000
    assert index.search("b", 1).outcome is Outcome.TOO_COSTLY
    edge = DenseContextIndex(HashingEmbedder(8), ";")
    edge.grow("b;" * MAX_PASSAGES)
    assert edge.num_passages == MAX_PASSAGES


def test_all_that_a_context_keeps_is_counted() -> None:
    index = DenseContextIndex(HashingEmbedder(), ";")
    text = "bab dok;" * 100
    index.grow(text)
    assert index.num_bytes > len(text) + 100 * 4 * 1024


def test_a_long_separator_is_an_invalid_query() -> None:
    [edge, over] = LocalRetriever().search(
        [dense("bab", passage_separator="s" * length) for length in (256, 257)]
    )
    assert edge.outcome is Outcome.NOT_FOUND
    assert over.outcome is Outcome.INVALID_QUERY
    assert "257 characters" in over.detail


def test_what_is_to_be_read_for_a_dense_search_makes_it_costly() -> None:
    retriever = LocalRetriever()
    text = "bab dok ; " * 4000
    assert retriever.is_costly(dense(text))
    retriever.search([dense(text)])
    assert not retriever.is_costly(dense(text + "gik"))
    assert retriever.is_costly(dense("gik " * 1_000_000))


def test_work_stops_at_the_deadline_and_goes_on_where_it_was() -> None:
    index = DenseContextIndex(HashingEmbedder(), ";")
    text = "".join(f"bab {number};" for number in range(5000))
    calls = iter(range(100))

    def go_on() -> None:
        if next(calls) == 8:
            raise SearchAbandonedError

    with pytest.raises(SearchAbandonedError):
        index.grow(text, go_on)
    assert index.num_passages < 5000
    index.grow(text)
    assert index.num_passages == 5000
    assert index.search("4999", 1).text == "bab 4999"
    with pytest.raises(SearchAbandonedError):
        LocalRetriever().search([dense(text, deadline_ns=time.monotonic_ns())])


def test_a_call_has_a_number_of_queries_and_bytes_that_are_no_message_a_status(
    start_service,
) -> None:
    service = start_service()
    with grpc.insecure_channel(service.address) as channel:
        stub = pb_grpc.RetrievalServiceStub(channel)
        stub.OpenContext(pb.OpenContextRequest(context_id="c", text="a"))
        edge = stub.SearchContexts(pb.SearchContextsRequest(queries=[QUERY] * 64))
        assert len(edge.results) == 64
        raw = channel.unary_unary("/harnessapi.retrieval.v1.RetrievalService/SearchContexts")
        for call, words in (
            (lambda: stub.SearchContexts(pb.SearchContextsRequest(queries=[QUERY] * 65)), "65 que"),
            (lambda: stub.CloseContexts(pb.CloseContextsRequest(context_ids=["c"] * 4097)), "4097"),
            (lambda: stub.OpenContext(pb.OpenContextRequest(context_id="c" * 257)), "257"),
            (lambda: raw(b"\xff\xff"), "2 bytes that are no message"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert words in caught.value.details()


def test_a_call_longer_than_any_context_is_resource_exhausted_before_it_is_read(
    start_service,
) -> None:
    service = start_service()
    options = (("grpc.max_send_message_length", -1),)
    with grpc.insecure_channel(service.address, options=options) as channel:
        stub = pb_grpc.RetrievalServiceStub(channel)
        stub.OpenContext(pb.OpenContextRequest(context_id="c", text="\U0001f600" * 4_000_000))
        with pytest.raises(grpc.RpcError) as caught:
            stub.OpenContext(pb.OpenContextRequest(context_id="c", text="a" * (20 * 2**20 + 1)))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
