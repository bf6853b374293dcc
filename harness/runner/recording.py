"""Words the outcome of one sample as the line that is stored."""

import time

from harness.endpoints.completion import Completion
from harness.endpoints.retrying import Attempts
from harness.run_store.cell import Cell
from harness.run_store.records import ErrorRecord, SampleRecord, SampleTimes
from harness.sample import Sample
from harness.scoring.exact import extract_answer, score_exact


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
    generated = completion.generated_text
    truncated = completion.finish_reason.is_truncation
    return SampleRecord(
        cell=cell.key,
        address=sample.address.key,
        prompt=prompt,
        prompt_token_ids=completion.prompt_token_ids,
        target=sample.target,
        transcript=tuple((s.channel.value, s.text) for s in completion.segments),
        searches=completion.searches,
        answer=extract_answer(generated),
        verdict=score_exact(generated, sample.target, truncated=truncated),
        finish_reason=completion.finish_reason.value,
        num_prompt_tokens=completion.num_prompt_tokens,
        num_generated_tokens=completion.num_generated_tokens,
        num_inserted_tokens=completion.num_inserted_tokens,
        num_searches=completion.num_searches,
        times=_times(attempts, completion, started_at_s),
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


def _times(attempts: Attempts, completion: Completion, started_at_s: float) -> SampleTimes:
    return SampleTimes(
        started_at_s=started_at_s,
        finished_at_s=time.time(),
        ttft_ms=completion.ttft_ms,
        total_ms=completion.total_ms,
        backoff_ms=attempts.backoff_ms,
        queue_ms=completion.server.queue_ms,
        prefill_ms=completion.server.prefill_ms,
        decode_ms=completion.server.decode_ms,
        retrieval_ms=completion.server.retrieval_ms,
    )
