"""Words the outcome of one sample as the line that is stored."""

import time

from msgspec.structs import asdict

from harness.clients.completion import Completion
from harness.clients.faults import AttemptError
from harness.runs.cell import Cell
from harness.runs.judging import score
from harness.runs.records import ErrorRecord, SampleRecord, SampleTimes
from harness.sample import Sample


def sample_record(
    cell: Cell,
    sample: Sample,
    completion: Completion,
    *,
    prompt: str,
    started_at_s: float,
) -> SampleRecord:
    """Scores the completion; `prompt` is what was sent."""
    answer, verdict = score(completion, sample.target, cell)
    times = SampleTimes(
        **asdict(completion.times),
        started_at_s=started_at_s,
        finished_at_s=time.time(),
    )
    return SampleRecord(
        **{**asdict(completion), "times": times},
        cell=cell.key,
        address=sample.address.key,
        prompt=prompt,
        target=sample.target,
        answer=answer,
        verdict=verdict,
    )


def error_record(
    cell: Cell, sample: Sample, error: AttemptError, started_at_s: float
) -> ErrorRecord:
    """What is known of a sample without a completion."""
    return ErrorRecord(
        cell=cell.key,
        address=sample.address.key,
        code=error.code,
        detail=error.detail,
        num_attempts=error.num_attempts,
        faults=error.faults,
        backoff_ms=error.backoff_ms,
        started_at_s=started_at_s,
        failed_at_s=time.time(),
    )
