"""Words the outcome of one sample as the line that is stored."""

import time

import msgspec
from msgspec.structs import asdict

from harness.clients.completion import Completion
from harness.clients.faults import NOT_STORABLE, AttemptError
from harness.clients.incoming import well_formed
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
    """Scores the completion; `prompt` is what was sent.

    Raises AttemptError for one that could not be read again: no server may damage a run.
    """
    answer, verdict = score(completion, sample.target, cell)
    times = SampleTimes(
        **asdict(completion.times),
        started_at_s=started_at_s,
        finished_at_s=time.time(),
    )
    record = SampleRecord(
        **{**asdict(completion), "times": times},
        cell=cell.key,
        address=sample.address.key,
        prompt=prompt,
        target=sample.target,
        answer=answer,
        verdict=verdict,
    )
    try:
        msgspec.json.decode(msgspec.json.encode(record), type=SampleRecord)
    except (msgspec.MsgspecError, UnicodeEncodeError) as fault:
        raise AttemptError(NOT_STORABLE, str(fault)) from None
    return record


def error_record(
    cell: Cell, sample: Sample, error: AttemptError, started_at_s: float
) -> ErrorRecord:
    """What is known of a sample without a completion."""
    return ErrorRecord(
        cell=cell.key,
        address=sample.address.key,
        code=error.code,
        detail=well_formed(error.detail),
        num_attempts=error.num_attempts,
        faults=tuple(map(well_formed, error.faults)),
        backoff_ms=error.backoff_ms,
        started_at_s=started_at_s,
        failed_at_s=time.time(),
        raw=well_formed(error.raw),
    )
