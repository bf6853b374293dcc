"""Words the outcome of one sample as the line that is stored."""

import time

from harness.clients.completion import Completion
from harness.clients.connection import Attempts
from harness.runs.cell import Cell
from harness.runs.records import ErrorRecord, SampleRecord, SampleTimes
from harness.sample import Sample, Style
from harness.scoring.exact import Verdict, extract_answer, score_exact
from harness.scoring.natural import extract_marked_answer, score_marked


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
    answer, verdict = judge(completion, sample.target, cell.style)
    return SampleRecord(
        cell=cell.key,
        address=sample.address.key,
        prompt=prompt,
        prompt_token_ids=completion.prompt_token_ids,
        target=sample.target,
        transcript=tuple((s.part.value, s.text) for s in completion.segments),
        searches=completion.searches,
        answer=answer,
        verdict=verdict,
        finish_reason=completion.finish_reason.value,
        num_prompt_tokens=completion.num_prompt_tokens,
        num_generated_tokens=completion.num_generated_tokens,
        num_inserted_tokens=completion.num_inserted_tokens,
        num_searches=completion.num_searches,
        are_counts_estimated=completion.are_counts_estimated,
        times=_times(attempts, completion, started_at_s),
        num_attempts=attempts.num_attempts,
        faults=attempts.faults,
    )


def judge(completion: Completion, target: str, style: Style) -> tuple[str | None, Verdict]:
    """The answer found and what it is worth; each style marks its answers in its own way."""
    truncated = completion.finish_reason.is_truncation
    if style is Style.NATURAL:
        reply = completion.reply_text
        return extract_marked_answer(reply), score_marked(reply, target, truncated=truncated)
    generated = completion.generated_text
    return extract_answer(generated), score_exact(generated, target, truncated=truncated)


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
