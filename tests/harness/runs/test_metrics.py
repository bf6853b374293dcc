from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.clients.completion import TextPiece
from harness.runs.metrics import Accumulator, BusyTime, Metrics
from harness.runs.records import SampleRecord, SampleTimes
from harness.scoring.exact import Verdict


def record(verdict: Verdict, start: float = 0.0, end: float = 1.0) -> SampleRecord:
    return SampleRecord(
        cell="cell",
        address="address",
        prompt="prompt",
        target="bab",
        transcript=(TextPiece(part="answer", text="<answer> bab"),),
        finish_reason="eos",
        verdict=verdict,
        num_prompt_tokens=5,
        num_generated_tokens=10,
        num_inserted_tokens=3,
        num_searches=2,
        times=SampleTimes(started_at_s=start, finished_at_s=end, ttft_ms=4.0),
    )


def metrics(*records: SampleRecord, **options: Any) -> Metrics:
    found = Accumulator()
    for one in records:
        found.add(one)
    return found.metrics(errored=options.get("errored", 0))


def test_every_verdict_stays_in_the_denominator_and_errors_stay_out() -> None:
    found = metrics(*map(record, Verdict), errored=3)
    assert (found.n, found.correct, found.accuracy) == (5, 1, 0.2)
    assert (found.no_answer, found.truncated, found.errored) == (1, 1, 3)


def test_every_count_has_its_mean() -> None:
    found = metrics(*(record(one) for one in Verdict if one is not Verdict.FILTERED))
    assert (found.searches_per_sample, found.prompt_tokens_per_sample) == (2, 5)
    assert (found.generated_tokens_per_sample, found.inserted_tokens_per_sample) == (10, 3)
    assert found.ttft_ms_p50 == 4


def test_nothing_is_claimed_of_no_samples() -> None:
    found = metrics(errored=1)
    assert (found.n, found.accuracy, found.tokens_per_s) == (0, None, None)
    assert (found.searches_per_sample, found.ttft_ms_p50, found.ci95) == (None, None, (0.0, 1.0))


def test_a_pause_between_two_sessions_is_not_working_time() -> None:
    times = ((0, 2), (1, 2), (1000, 1001))
    found = metrics(*(record(Verdict.CORRECT, start, end) for start, end in times))
    assert found.tokens_per_s == 10


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))))
def test_busy_time_counts_every_second_once(intervals: list[tuple[int, int]]) -> None:
    seconds = {second for start, end in intervals for second in range(start, end)}
    busy = BusyTime()
    for start, end in intervals:
        busy.add(start, end)
    assert busy.seconds == len(seconds)
