import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring.exact import Verdict
from harness.scoring.marked import extract_marked_answer, normalize, score_marked

words = st.text(alphabet="abcxyz0123456789", min_size=1, max_size=6)
phrases = st.lists(words, min_size=1, max_size=4).map(" ".join)
# Free text without a marked answer of its own.
prose = st.text(alphabet="abcdefgh 0123.,!*\n", max_size=40)
wrappers = st.sampled_from(
    [
        "{}",
        "**{}**",
        "`{}`",
        '"{}"',
        "({})",
        "{}.",
        "{}!",
        "*{}*.",
        "\u201c{}\u201d",
        "[{}]",
        " {}\t",
    ]
)
labels = st.sampled_from(
    ["Answer: ", "answer:", "ANSWER: ", "**Answer:** ", "**Answer**: ", "- Answer: ", "> Answer:"]
)
inside = st.sampled_from(["{} {}", "{}-{}", "{}.{}", "{},{}", "x{}{}"])


@given(prose, labels, wrappers, phrases, prose)
def test_a_marked_answer_is_found_however_it_is_set_off(
    before: str, label: str, wrapper: str, answer: str, after: str
) -> None:
    text = f"{before}\n{label}{wrapper.format(answer)}\n{after}"
    assert extract_marked_answer(text) == answer


@given(phrases, phrases, prose)
def test_the_last_marked_answer_counts(first: str, last: str, between: str) -> None:
    text = f"Answer: {first}\n{between}\nAnswer: {last}"
    assert extract_marked_answer(text) == last


@given(phrases, phrases)
def test_only_the_whole_answer_is_right(answer: str, target: str) -> None:
    verdict = score_marked(f"Answer: {answer}", target, truncated=False)
    assert (verdict is Verdict.CORRECT) == (answer == target)


@given(words, words, inside)
def test_an_answer_is_never_looked_for_inside_another(answer: str, more: str, shape: str) -> None:
    for text in (shape.format(answer, more), shape.format(more, answer)):
        assert score_marked(f"Answer: {text}", answer, truncated=False) is Verdict.WRONG


@given(st.text(max_size=30))
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    assert normalize(normalize(text)) == normalize(text)


@given(st.text(max_size=60), phrases)
def test_any_text_gets_a_verdict(text: str, target: str) -> None:
    assert score_marked(text, target, truncated=False) in Verdict
    assert score_marked(text, target, truncated=True) is Verdict.TRUNCATED


@given(prose)
def test_the_target_without_its_mark_is_no_answer(text: str) -> None:
    assert score_marked(text, "bab", truncated=False) is Verdict.NO_ANSWER


@pytest.mark.parametrize(
    ("line", "target", "verdict"),
    [
        ("Answer: 42!", "42", Verdict.CORRECT),
        ("Answer: 711", "11", Verdict.WRONG),
        ("Answer: (3.14)", "314", Verdict.WRONG),
        ("Answer: (3.14).", "3.14", Verdict.CORRECT),
        ("Answer: -5", "5", Verdict.WRONG),
        ("Answer: +5", "5", Verdict.WRONG),
        ("Answer: .5", "5", Verdict.WRONG),
        ("Answer: 5%", "5", Verdict.WRONG),
        ("Answer: Yes", "yes", Verdict.CORRECT),
        ("Answer: gik (the value)", "gik", Verdict.WRONG),
        ("Answer: bab  dok", "bab dok", Verdict.CORRECT),
        ("Answer: bab, dok", "bab dok", Verdict.WRONG),
        ("Answer:", "bab", Verdict.NO_ANSWER),
        ("Answer: **", "bab", Verdict.NO_ANSWER),
        ("The answer: bab", "bab", Verdict.NO_ANSWER),
        ("Answers: bab", "bab", Verdict.NO_ANSWER),
    ],
)
def test_what_is_tolerated_and_what_is_not(line: str, target: str, verdict: Verdict) -> None:
    assert score_marked(f"So be it.\n{line}", target, truncated=False) is verdict
