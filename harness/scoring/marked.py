"""Exact match of the last marked answer in plain language: pure functions over completions.

A marked answer is a line that begins with `Answer:`, whatever marks of emphasis stand around it.
Two answers are the same where they are after `normalize`: that alone is tolerated, and nothing is
searched for inside an answer.
"""

import re
from typing import Final

from harness.scoring.exact import Verdict

ANSWER_LABEL: Final = "Answer:"
_DECORATION: Final = "*_`"
_QUOTES: Final = "\"'\u2018\u2019\u201c\u201d"
_LABEL: Final = re.compile(
    rf"^[ \t>#{_DECORATION}-]*answer[ \t{_DECORATION}]*:(?P<answer>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
# A sign or a point before a number is part of it; a point after a word ends the sentence.
_BEFORE: Final = _DECORATION + _QUOTES + "([{<,;: \t"
_AFTER: Final = _DECORATION + _QUOTES + ")]}>?!,;:. \t"


def normalize(answer: str) -> str:
    """White space folded, case folded, and the punctuation and emphasis around the whole dropped.

    `**42!**` is `42`, `(3.14).` is `3.14`, `-5` stays `-5`; what stands inside is left as it is.
    """
    folded = " ".join(answer.split()).casefold()
    return folded.lstrip(_BEFORE).rstrip(_AFTER)


def extract_marked_answer(generated: str) -> str | None:
    """What the last `Answer:` line says, normalized; None where there is no such line."""
    answers = _LABEL.findall(generated)
    return normalize(answers[-1]) if answers else None


def score_marked(generated: str, target: str, *, truncated: bool) -> Verdict:
    """Compares whole answers after `normalize`; a truncated completion is never an answer."""
    if truncated:
        return Verdict.TRUNCATED
    answer = extract_marked_answer(generated)
    if not answer:
        return Verdict.NO_ANSWER
    return Verdict.CORRECT if answer == normalize(target) else Verdict.WRONG
