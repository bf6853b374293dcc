from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.clients.completion import TextPiece
from harness.runs.metrics import Accumulator
from harness.runs.records import SampleRecord, SampleTimes
from harness.scoring.exact import Verdict


def record(target: str, *, is_right: bool) -> SampleRecord:
    return SampleRecord(
        cell="cell",
        address="address",
        prompt="prompt",
        target=target,
        transcript=(TextPiece(part="answer", text="<answer> yes"),),
        finish_reason="eos",
        verdict=Verdict.CORRECT if is_right else Verdict.WRONG,
        num_prompt_tokens=5,
        num_generated_tokens=10,
        num_inserted_tokens=0,
        num_searches=0,
        times=SampleTimes(started_at_s=0.0, finished_at_s=1.0),
    )


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1),
    st.sampled_from([(), ("a", "b", "c"), ("a", "b", "c", "d")]),
)
def test_the_majority_is_the_commonest_targets_and_balanced_accuracy_the_mean_of_recalls(
    asked: list[tuple[str, bool]], few: tuple[str, ...]
) -> None:
    found = Accumulator(few_targets=few)
    for target, is_right in asked:
        found.add(record(target, is_right=is_right))
    metrics = found.metrics(errored=0)
    counts = Counter(target for target, _ in asked)
    assert metrics.majority_rate == max(counts.values()) / len(asked)
    recalls = [
        sum(is_right for other, is_right in asked if other == target) / number
        for target, number in counts.items()
    ]
    mean = pytest.approx(sum(recalls) / len(recalls))
    assert metrics.balanced_accuracy == (mean if few else None)


def test_always_saying_yes_is_worth_half_whatever_the_majority_is() -> None:
    found = Accumulator(few_targets=("yes", "no"))
    for target in ("yes", "yes", "yes", "no"):
        found.add(record(target, is_right=target == "yes"))
    metrics = found.metrics(errored=0)
    assert (metrics.accuracy, metrics.majority_rate) == (0.75, 0.75)
    assert metrics.balanced_accuracy == 0.5


def test_of_no_samples_nothing_is_said() -> None:
    metrics = Accumulator(few_targets=("yes", "no")).metrics(errored=1)
    assert (metrics.majority_rate, metrics.balanced_accuracy) == (None, None)
