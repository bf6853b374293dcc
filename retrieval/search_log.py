"""Searches of the service as lines of its log and as spans: whose they were, and how they ended."""

from harnessapi.observing.logs import log_fields
from harnessapi.observing.traces import took
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.rpc.enums import OUTCOMES
from harnessapi.values import Mode


def log_search(query: pb.ContextQuery, mode: Mode, result: pb.ContextResult) -> None:
    """A line, without the query and what was found."""
    log_fields(
        "search",
        request_id=query.request_id,
        mode=mode.value,
        outcome=_outcome(result),
        ms=result.search_ns / 1e6,
    )


def trace_search(query: pb.ContextQuery, mode: Mode, result: pb.ContextResult) -> None:
    """A span below that of the model server's call."""
    told = {"mode": mode.value, "outcome": _outcome(result), "request_id": query.request_id}
    took("RetrievalService", "search", result.search_ns, query.traceparent, told)


def _outcome(result: pb.ContextResult) -> str:
    return str(OUTCOMES.member(result.outcome) or "unspecified")
