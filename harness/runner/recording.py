"""Words the outcome of one sample as the line that is stored."""

import time

from msgspec.structs import asdict

from harness.clients.completion import Completion
from harness.clients.connection import Attempts
from harness.runs.cell import Cell
from harness.runs.records import ErrorRecord, SampleRecord, SampleTimes
from harness.runs.rescoring import score
from harness.sample import Sample


def sample_record(
    cell: Cell,
    sample: Sample,
    attempts: Attempts,
    completion: Completion,
    *,
    prompt: str,
    started_at_s: float,
) -> SampleRecord:
    """Scores the completion; `prompt` is what was sent."""
    answer, verdict = score(completion, sample.target, cell.style)
    times = SampleTimes(
        **asdict(completion.times),
        started_at_s=started_at_s,
        finished_at_s=time.time(),
        backoff_ms=attempts.backoff_ms,
    )
    return SampleRecord(
        **{**asdict(completion), "times": times},
        cell=cell.key,
        address=sample.address.key,
        prompt=prompt,
        target=sample.target,
        answer=answer,
        verdict=verdict,
        num_attempts=attempts.num_attempts,
        faults=attempts.faults,
    )


def error_record(
    cell: Cell, sample: Sample, attempts: Attempts, started_at_s: float
) -> ErrorRecord:
    """What is known of a sample without a completion."""
    error = attempts.error
    return ErrorRecord(
        cell=cell.key,
        address=sample.address.key,
        code=error.code if error else "",
        detail=error.detail if error else "",
        num_attempts=attempts.num_attempts,
        faults=attempts.faults,
        backoff_ms=attempts.backoff_ms,
        started_at_s=started_at_s,
        failed_at_s=time.time(),
    )
