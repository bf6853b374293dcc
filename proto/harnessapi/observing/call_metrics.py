"""Calls of a server as numbers: how many ended how, and how long they took."""

from collections.abc import Callable
from typing import Final

from google.protobuf.descriptor_pool import Default

from harnessapi.observing.tallies import Counter, Histogram, Metrics
from harnessapi.rpc.calls import CallEnd

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_OTHER: Final = "other"


def count_calls(metrics: Metrics, service: str) -> Callable[[CallEnd], None]:
    """What is to be told of every call; those of other services are one kind."""
    requests = Counter(
        name="harness_requests",
        help="Calls that are over, by how they ended.",
        labels=("method", "code"),
    )
    took = Histogram(
        name="harness_request_seconds",
        help="From a call's arrival to its end.",
        labels=("method",),
        bounds=SECONDS,
    )
    metrics.add(requests, took)
    methods = Default().FindServiceByName(service).methods_by_name
    # Whatever a stranger calls a method: names must not fill the memory.
    names = {f"/{service}/{name}": name for name in methods}

    def ended(end: CallEnd) -> None:
        name = names.get(end.method, _OTHER)
        requests.add(name, end.code.name)
        took.add(end.seconds, name)

    return ended
