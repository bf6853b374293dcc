"""What many scored samples come to: pure functions, no model and no file."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.scoring.exact import Verdict
from harness.scoring.intervals import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """What the metrics need of one finished sample; times are Unix seconds, or milliseconds."""

    verdict: Verdict
    num_generated_tokens: int
    num_searches: int
    started_at_s: float
    finished_at_s: float
    ttft_ms: float | None
    num_prompt_tokens: int = 0
    num_inserted_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """The figures of one cell. `n` are the scored samples; errored ones are never among them."""

    n: int
    correct: int
    accuracy: float | None
    ci95: tuple[float, float]
    no_answer: int
    truncated: int
    errored: int
    tokens_per_s: float | None
    ttft_ms_p50: float | None
    searches_per_sample: float | None
    prompt_tokens_per_sample: float | None = None
    generated_tokens_per_sample: float | None = None
    inserted_tokens_per_sample: float | None = None


def aggregate(samples: Sequence[Scored], *, errored: int) -> Metrics:
    """The metrics of one cell; what cannot be computed from no samples is None."""
    n = len(samples)
    correct = _count(samples, Verdict.CORRECT)
    busy_s = busy_seconds((s.started_at_s, s.finished_at_s) for s in samples)
    num_tokens = sum(s.num_generated_tokens for s in samples)
    ttfts_ms = [s.ttft_ms for s in samples if s.ttft_ms is not None]
    return Metrics(
        n=n,
        correct=correct,
        accuracy=correct / n if n else None,
        ci95=wilson_interval(correct, n),
        no_answer=_count(samples, Verdict.NO_ANSWER),
        truncated=_count(samples, Verdict.TRUNCATED),
        errored=errored,
        tokens_per_s=num_tokens / busy_s if busy_s > 0 else None,
        ttft_ms_p50=statistics.median(ttfts_ms) if ttfts_ms else None,
        searches_per_sample=_mean([s.num_searches for s in samples]),
        prompt_tokens_per_sample=_mean([s.num_prompt_tokens for s in samples]),
        generated_tokens_per_sample=_mean([s.num_generated_tokens for s in samples]),
        inserted_tokens_per_sample=_mean([s.num_inserted_tokens for s in samples]),
    )


def busy_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: the pause before a resume is not working time."""
    total = 0.0
    reached = float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _count(samples: Sequence[Scored], verdict: Verdict) -> int:
    return sum(s.verdict is verdict for s in samples)
