"""Exact match of the whole parsed answer: pure functions over stored completions."""

from enum import StrEnum
from typing import Final

# Words of the symbolic style that scoring has to know; the vocabulary takes them from here.
ANSWER_MARKER: Final = "<answer>"
END_MARKER: Final = "<eos>"


class Verdict(StrEnum):
    """What became of one sample; only CORRECT counts, and all of them are in the denominator."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    # A filter of the endpoint kept the prompt or the answer back.
    FILTERED = "filtered"


def extract_answer(generated: str) -> str | None:
    """What follows the last answer marker in the text that the model generated, or None.

    White space is folded, and an end-of-sequence word ends the answer. Inserted text is no part
    of `generated`: an answer that a search returned is nobody's answer.
    """
    _, marker, answer = generated.rpartition(ANSWER_MARKER)
    return " ".join(answer.partition(END_MARKER)[0].split()) if marker else None


def score_exact(generated: str, target: str, *, truncated: bool) -> Verdict:
    """Compares whole answers, white space folded; a truncated completion is never an answer."""
    if truncated:
        return Verdict.TRUNCATED
    answer = extract_answer(generated)
    if not answer:
        return Verdict.NO_ANSWER
    return Verdict.CORRECT if answer == " ".join(target.split()) else Verdict.WRONG
