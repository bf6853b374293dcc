"""Shows tallies to Prometheus, over HTTP on a port of their own; alone in needing its library."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from harnessapi.observing.tallies import Counter, Gauge, Histogram, Labels, Metrics, Tally
from harnessapi.rpc.targets import Target, TargetError

_INFINITY: Final = "+Inf"


@contextmanager
def exposed(metrics: Metrics, target: Target) -> Iterator[None]:
    """For as long as the block: `http://TARGET/metrics`. Raises TargetError."""
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    try:
        server, thread = start_http_server(target.port, addr=target.host, registry=registry)
    except OSError as error:
        raise TargetError(f"cannot show metrics on {target}: {error.strerror}") from None
    try:
        yield
    finally:
        _end(server, thread)


def _end(server: Any, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


class _Collector:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """On a thread of the HTTP server."""
        for tally in list(self._metrics.tallies):
            yield _family(tally)


def _family(tally: Tally) -> Metric:
    match tally:
        case Counter():
            counter = CounterMetricFamily(tally.name, tally.help, labels=tally.labels)
            values: dict[Labels, float] = {} if tally.labels else {(): 0.0}
            for labels, value in {**values, **tally.values}.items():
                counter.add_metric(labels, value)
            return counter
        case Gauge():
            kind = CounterMetricFamily if tally.grows else GaugeMetricFamily
            gauge = kind(tally.name, tally.help, labels=tally.labels)
            for labels, value in (tally.read() or {}).items():
                gauge.add_metric(labels, value)
            return gauge
        case Histogram():
            histogram = HistogramMetricFamily(tally.name, tally.help, labels=tally.labels)
            for labels, counts in list(tally.values.items()):
                *numbers, total = list(counts)
                histogram.add_metric(labels, _buckets(tally, numbers), sum_value=total)
            return histogram


def _buckets(tally: Histogram, numbers: list[float]) -> list[tuple[str, float]]:
    """As Prometheus has them: each with all that are smaller."""
    buckets, so_far = [], 0.0
    for bound, number in zip((*map(str, tally.bounds), _INFINITY), numbers, strict=True):
        so_far += number
        buckets.append((bound, so_far))
    return buckets
