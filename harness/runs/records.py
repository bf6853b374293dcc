"""The lines of samples.jsonl and errors.jsonl."""

from dataclasses import dataclass
from typing import Any

from harness.clients.completion import SearchStep
from harness.scoring.aggregate import Scored
from harness.scoring.exact import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleTimes:
    """`started_at_s`, `finished_at_s`: Unix time of the first sending and of the end.

    `total_ms` and `ttft_ms` are of the last attempt; `backoff_ms` is the waiting between attempts;
    the rest is what the server says about the last one.
    """

    started_at_s: float
    finished_at_s: float
    ttft_ms: float | None
    total_ms: float
    backoff_ms: float
    queue_ms: float
    prefill_ms: float
    decode_ms: float
    retrieval_ms: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRecord:
    """A finished sample: all that scoring and reports need, without a model."""

    cell: str
    address: str
    prompt: str
    prompt_token_ids: tuple[int, ...]
    target: str
    # [channel, text] in the order they came.
    transcript: tuple[tuple[str, str], ...]
    searches: tuple[SearchStep, ...]
    answer: str | None
    verdict: Verdict
    finish_reason: str
    num_prompt_tokens: int
    num_generated_tokens: int
    num_inserted_tokens: int
    num_searches: int
    times: SampleTimes
    num_attempts: int
    # The fault of every attempt but the last.
    faults: tuple[str, ...]
    # The server counts no tokens: each piece of text that came counts as one.
    are_counts_estimated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRecord:
    """A sample that has no completion; a resumed run asks it again."""

    cell: str
    address: str
    code: str
    detail: str
    num_attempts: int
    faults: tuple[str, ...]
    backoff_ms: float
    started_at_s: float
    failed_at_s: float


def scored_from_json(value: dict[str, Any]) -> Scored:
    """The part of a stored SampleRecord that the metrics need."""
    times = value["times"]
    return Scored(
        verdict=Verdict(value["verdict"]),
        num_generated_tokens=value["num_generated_tokens"],
        num_searches=value["num_searches"],
        started_at_s=times["started_at_s"],
        finished_at_s=times["finished_at_s"],
        ttft_ms=times["ttft_ms"],
        num_prompt_tokens=value["num_prompt_tokens"],
        num_inserted_tokens=value["num_inserted_tokens"],
    )
