"""Completions of a model server as lines of its log, and their searches as spans."""

from collections.abc import Callable

from harnessapi.observing.logs import log_fields
from harnessapi.observing.traces import took

from harness_servers.generation import Event, Finished, Job, RetrievalStep


def log_completion(job: Job) -> Callable[[Event], None]:
    """A line at its end: numbers and times, no text."""

    def take(event: Event) -> None:
        if isinstance(event, Finished):
            log_fields(
                "completion",
                request_id=job.request_id,
                reason=event.reason.value,
                prompt_tokens=event.num_prompt_tokens,
                generated_tokens=event.num_generated_tokens,
                inserted_tokens=event.num_inserted_tokens,
                searches=event.num_searches,
                prefill_ms=event.prefill_ns / 1e6,
                decode_ms=event.decode_ns / 1e6,
                retrieval_ms=event.retrieval_ns / 1e6,
            )

    return take


def trace_searches(job: Job) -> Callable[[Event], None]:
    """A span for each wait for a search, below that of the call."""

    def take(event: Event) -> None:
        if isinstance(event, RetrievalStep):
            told = {"mode": event.mode.value, "outcome": event.outcome.value}
            took("InferenceService", "wait for a search", event.elapsed_ns, job.traceparent, told)

    return take
