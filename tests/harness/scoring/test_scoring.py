import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.exact import ANSWER_MARKER, Verdict, extract_answer, score_exact
from harness.scoring.intervals import wilson_interval

words = st.text(alphabet="abcdefgh0123456789.()!", min_size=1, max_size=6)
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)
spaces = st.sampled_from([" ", "  ", "\n", "\t "])


@given(phrases, phrases, phrases)
def test_the_last_marked_answer_counts(before: str, first: str, last: str) -> None:
    text = f"{before} {ANSWER_MARKER} {first} {ANSWER_MARKER} {last}"
    assert extract_answer(text) == last


@given(phrases, spaces, spaces)
def test_white_space_around_an_answer_does_not_matter(answer: str, left: str, right: str) -> None:
    text = f"{ANSWER_MARKER}{left}{answer}{right}"
    assert score_exact(text, answer, truncated=False) is Verdict.CORRECT


@given(phrases, phrases)
def test_only_the_whole_answer_is_right(answer: str, target: str) -> None:
    verdict = score_exact(f"{ANSWER_MARKER} {answer}", target, truncated=False)
    assert (verdict is Verdict.CORRECT) == (answer.split() == target.split())


@pytest.mark.parametrize(("answer", "target"), [("711", "11"), ("42!", "42"), ("(3.14)", "314")])
def test_a_part_of_an_answer_is_wrong(answer: str, target: str) -> None:
    assert score_exact(f"{ANSWER_MARKER} {answer}", target, truncated=False) is Verdict.WRONG


@given(phrases)
def test_the_target_without_a_marker_is_no_answer(target: str) -> None:
    assert score_exact(target, target, truncated=False) is Verdict.NO_ANSWER


@pytest.mark.parametrize(
    "text", ["", ANSWER_MARKER, f"{ANSWER_MARKER}  ", f"{ANSWER_MARKER} <eos>"]
)
def test_an_empty_answer_is_no_answer(text: str) -> None:
    assert score_exact(text, "bab", truncated=False) is Verdict.NO_ANSWER


@given(phrases)
def test_a_truncated_completion_is_never_an_answer(target: str) -> None:
    assert score_exact(f"{ANSWER_MARKER} {target}", target, truncated=True) is Verdict.TRUNCATED


def test_the_end_of_the_sequence_ends_the_answer() -> None:
    assert extract_answer(f"x {ANSWER_MARKER} bab dok <eos> <pad>") == "bab dok"


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_rate_and_stays_between_0_and_1(a: int, b: int) -> None:
    low, high = wilson_interval(a, a + b)
    rate = a / (a + b) if a + b else 0.5
    assert 0 <= low <= rate <= high <= 1


@given(st.integers(0, 200), st.integers(1, 200))
def test_the_interval_is_symmetric_in_successes_and_failures(a: int, b: int) -> None:
    low, high = wilson_interval(a, a + b)
    other_low, other_high = wilson_interval(b, a + b)
    assert math.isclose(low, 1 - other_high, abs_tol=1e-12)
    assert math.isclose(high, 1 - other_low, abs_tol=1e-12)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(2, 20))
def test_more_samples_of_the_same_rate_narrow_the_interval(a: int, b: int, times: int) -> None:
    low, high = wilson_interval(a, a + b)
    narrow_low, narrow_high = wilson_interval(a * times, (a + b) * times)
    assert narrow_high - narrow_low < high - low


def test_the_interval_agrees_with_published_values() -> None:
    # Newcombe (1998), table I, method 3: 81 of 263, and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5)])
def test_an_interval_of_an_impossible_count_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=str(n)):
        wilson_interval(successes, n)
