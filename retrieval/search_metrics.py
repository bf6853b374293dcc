"""Searches of the service as numbers."""

from typing import Final

from harnessapi.observing.call_metrics import SECONDS
from harnessapi.observing.tallies import Counter, Gauge, Histogram, Metrics
from harnessapi.retrieval.v1 import retrieval_pb2 as pb
from harnessapi.rpc.enums import OUTCOMES
from harnessapi.values import Mode

from harness_retrieval.contexts.context_store import ContextStore
from harness_retrieval.local import LocalRetriever

_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, *SECONDS)


class SearchMetrics:
    """Of one service; all but the gauges belong to its event loop."""

    def __init__(self, metrics: Metrics, contexts: ContextStore, retriever: LocalRetriever) -> None:
        self._searches = Counter(
            name="harness_searches",
            help="Searches, by what became of them.",
            labels=("mode", "outcome"),
        )
        self._seconds = Histogram(
            name="harness_search_seconds",
            help="What a search took, without its wait for a thread.",
            labels=("mode",),
            bounds=_BOUNDS,
        )
        metrics.add(
            self._searches,
            self._seconds,
            Gauge(
                name="harness_contexts",
                help="Contexts that are held.",
                read=lambda: {(): float(len(contexts))},
            ),
            Gauge(
                name="harness_context_bytes",
                help="What the texts of all contexts that are held take, and the indexes of some.",
                labels=("kind",),
                read=lambda: {
                    ("texts",): float(contexts.num_bytes),
                    ("indexes",): float(retriever.num_bytes),
                },
            ),
        )

    def take(self, _query: pb.ContextQuery, mode: Mode, result: pb.ContextResult) -> None:
        """One that is done."""
        self._searches.add(mode, OUTCOMES.member(result.outcome) or "unspecified")
        self._seconds.add(result.search_ns / 1e9, mode)
