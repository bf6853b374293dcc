"""Completions of a model server as numbers, counted from the events that their readers get."""

import time
from collections.abc import Callable
from typing import Final

from harnessapi.observing.call_metrics import SECONDS
from harnessapi.observing.tallies import Counter, Gauge, Histogram, Labels, Metrics
from harnessapi.values import Part

from harness_servers.backends.backend import Backend
from harness_servers.generation import Delta, Event, Finished, Job, RetrievalStep, Scored, Started

_INTERVALS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    1.0,
)


class CompletionMetrics:
    """Of one server; all but the gauges belong to its event loop."""

    def __init__(self, metrics: Metrics, backend: Backend) -> None:
        self.tokens = Counter(
            name="harness_tokens",
            help="Tokens: of prompts, those of them read before, generated, inserted, scored.",
            labels=("kind",),
        )
        self.completions = Counter(
            name="harness_completions", help="Completions, by why they ended.", labels=("reason",)
        )
        self.searches = Counter(
            name="harness_searches",
            help="Searches that models asked for, by what became of them.",
            labels=("mode", "outcome"),
        )
        self.search_seconds = Histogram(
            name="harness_search_seconds",
            help="A sequence's wait for its search.",
            labels=("mode",),
            bounds=SECONDS,
        )
        self.queue_seconds = Histogram(
            name="harness_queue_seconds", help="Wait for a slot.", bounds=SECONDS
        )
        self.first_token_seconds = Histogram(
            name="harness_time_to_first_token_seconds",
            help="From a request's arrival to the first token that the model wrote.",
            bounds=SECONDS,
        )
        self.token_interval_seconds = Histogram(
            name="harness_token_interval_seconds",
            help="Between two tokens of a completion, as its reader gets them: tokens that come "
            "together share the time since those before.",
            bounds=_INTERVALS,
        )
        metrics.add(
            *(self.tokens, self.completions, self.searches, self.search_seconds),
            *(self.queue_seconds, self.first_token_seconds, self.token_interval_seconds),
            *_gauges(backend),
        )

    def follow(self, job: Job) -> Callable[[Event], None]:
        """What is to be told of every event of a completion."""
        return _Followed(self, job).take


class _Followed:
    def __init__(self, metrics: CompletionMetrics, job: Job) -> None:
        self._metrics = metrics
        self._arrived_ns = job.arrived_ns
        self._last_ns: int | None = None

    def take(self, event: Event) -> None:
        metrics = self._metrics
        match event:
            case Delta():
                if event.token_ids and event.part is not Part.INSERTED:
                    self._take_tokens(len(event.token_ids))
            case Started():
                metrics.queue_seconds.add(event.queue_ns / 1e9)
                metrics.tokens.add("cached", by=event.num_cached_tokens)
            case RetrievalStep():
                metrics.searches.add(event.mode, event.outcome)
                metrics.search_seconds.add(event.elapsed_ns / 1e9, event.mode)
                # Its wait is no interval between tokens.
                self._last_ns = None if self._last_ns is None else time.monotonic_ns()
            case Scored():
                metrics.tokens.add("scored", by=len(event.log_probs))
            case Finished():
                metrics.completions.add(event.reason)
                metrics.tokens.add("prompt", by=event.num_prompt_tokens)
                metrics.tokens.add("inserted", by=event.num_inserted_tokens)

    def _take_tokens(self, number: int) -> None:
        now_ns, metrics = time.monotonic_ns(), self._metrics
        metrics.tokens.add("generated", by=number)
        if self._last_ns is None:
            metrics.first_token_seconds.add((now_ns - self._arrived_ns) / 1e9)
        else:
            each_s = (now_ns - self._last_ns) / 1e9 / number
            metrics.token_interval_seconds.add(each_s, times=number)
        self._last_ns = now_ns


def _gauges(backend: Backend) -> tuple[Gauge, ...]:
    def one(value: float) -> dict[Labels, float]:
        return {(): value}

    def state_bytes() -> dict[Labels, float] | None:
        counts = backend.counts
        if counts is None:
            return None
        return {("slots",): counts.slot_bytes, ("prefix_cache",): counts.cache_bytes}

    def steps() -> dict[Labels, float] | None:
        return None if backend.counts is None else one(backend.counts.num_steps)

    return (
        Gauge(
            name="harness_slots",
            help="Sequences that are decoded at once, at most.",
            read=lambda: one(backend.num_slots),
        ),
        Gauge(
            name="harness_slots_in_use",
            help="Sequences that have a slot.",
            read=lambda: one(backend.num_running),
        ),
        Gauge(
            name="harness_queued",
            help="Requests that wait for a slot.",
            read=lambda: one(backend.num_queued),
        ),
        Gauge(
            name="harness_state_bytes",
            help="What the states of our own engine take: of slots, and of prefixes that are kept.",
            labels=("kind",),
            read=state_bytes,
        ),
        Gauge(
            name="harness_engine_steps",
            help="Steps that our own engine has made since it started.",
            grows=True,
            read=steps,
        ),
    )
