"""Words the outcome of one sample as the line that is stored."""

import math
import time
from collections.abc import Iterable

import msgspec
from msgspec.structs import asdict

from harness.clients.completion import CONTENT_FILTER, Completion, CompletionTimes
from harness.clients.faults import NOT_STORABLE, AttemptError, FilteredError
from harness.clients.incoming import well_formed
from harness.clients.scored_token import ScoredToken
from harness.runs.cell import Cell
from harness.runs.judging import score
from harness.runs.records import ErrorRecord, SampleRecord, SampleTimes
from harness.sample import Sample
from harness.scoring.wording import Wording
from harness.way import SearchArm


def sample_record(
    cell: Cell,
    sample: Sample,
    completion: Completion,
    *,
    repeat: int,
    wording: Wording,
    prompt: str,
    started_at_s: float,
) -> SampleRecord:
    """Scores the completion; `wording` is the task's, `prompt` is what was sent.

    Raises AttemptError for one that could not be read again: no server may damage a run.
    """
    answer, verdict = score(completion, sample.target, cell, wording)
    times = SampleTimes(
        **asdict(completion.times),
        started_at_s=started_at_s,
        finished_at_s=time.time(),
    )
    record = SampleRecord(
        **{**asdict(completion), "times": times},
        cell=cell.key,
        address=sample.address.key,
        repeat=repeat,
        prompt=prompt,
        target=sample.target,
        lie=_lie(cell, sample),
        answer=answer,
        verdict=verdict,
    )
    _require_finite(record.log_probs or ())
    try:
        msgspec.json.decode(msgspec.json.encode(record), type=SampleRecord)
    except (msgspec.MsgspecError, UnicodeEncodeError) as fault:
        raise AttemptError(NOT_STORABLE, str(fault)) from None
    return record


def _lie(cell: Cell, sample: Sample) -> str | None:
    twin = sample.false_twin() if cell.search is SearchArm.LYING else None
    return None if twin is None else twin.target


def _require_finite(log_probs: Iterable[ScoredToken]) -> None:
    """JSON has no infinities; what is written in their place would be read as something else."""
    for one in log_probs:
        for value in (one.log_prob, *(top.log_prob for top in one.top)):
            if value is not None and not math.isfinite(value):
                detail = f"a log-probability at token '{one.token}' is {value}: no number"
                raise AttemptError(NOT_STORABLE, detail)


def filtered_completion(error: FilteredError) -> Completion:
    """What is stored where a filter kept the answer back: the last fault says which."""
    return Completion(
        transcript=(),
        finish_reason=CONTENT_FILTER,
        num_prompt_tokens=0,
        num_generated_tokens=0,
        num_inserted_tokens=0,
        num_searches=0,
        times=CompletionTimes(backoff_ms=error.backoff_ms),
        num_attempts=error.num_attempts,
        faults=(*error.faults, str(error)),
        answered_by=error.address or None,
    )


def error_record(
    cell: Cell, sample: Sample, repeat: int, error: AttemptError, started_at_s: float
) -> ErrorRecord:
    """What is known of a sample without a completion."""
    return ErrorRecord(
        cell=cell.key,
        address=sample.address.key,
        repeat=repeat,
        code=error.code,
        detail=well_formed(error.detail),
        num_attempts=error.num_attempts,
        faults=tuple(map(well_formed, error.faults)),
        backoff_ms=error.backoff_ms,
        started_at_s=started_at_s,
        failed_at_s=time.time(),
        raw=well_formed(error.raw),
        request_id=error.request_id,
    )
