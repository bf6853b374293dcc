"""Exact match of the last marked answer in plain language: pure functions over completions.

A marked answer is a line that begins with `Answer:` or `Final Answer:`, whatever marks of emphasis
stand around it. Two answers are the same where they are after `normalize`, or where the task says
that its targets may be worded so: that alone is tolerated, and nothing is searched for inside an
answer. Every rule stands in docs/scoring.md, with what it does not tolerate.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from harness.scoring.exact import Verdict
from harness.scoring.normalizing import normalize
from harness.scoring.think_tags import without_reasoning
from harness.scoring.wording import AS_IT_STANDS, Wording

ANSWER_LABEL: Final = "Answer:"
_DECORATION: Final = "*_`"
# One run of each set, and the sets have nothing in common: no text is read twice.
_LABEL: Final = re.compile(
    rf"^[ \t>#{_DECORATION}-]*(?:final[ \t{_DECORATION}]+)?answer[ \t{_DECORATION}]*[:\uff1a]",
    re.IGNORECASE | re.MULTILINE,
)
# A line that opens a block, with the name of a language; and one that ends it.
_OPENS_BLOCK: Final = re.compile(r"[ \t]*```[ \t]*[\w+#.-]+[ \t]*")
_ENDS_BLOCK: Final = re.compile(r"[ \t]*```[ \t]*")
# Begins a formula that has lines of its own.
_FORMULA: Final = "\\["


def extract_marked_answer(reply: str) -> str | None:
    """What the last label is followed by, normalized; None where there is no such label.

    Where nothing follows on its line, the first line below that says something is the answer; where
    that opens a block, the first one in the block.
    """
    said = without_reasoning(reply)
    end = None
    for label in _LABEL.finditer(said):
        end = label.end()
    return None if end is None else _first_told(said[end:].split("\n"))


def score_marked(
    reply: str, target: str, *, truncated: bool, wording: Wording = AS_IT_STANDS
) -> Verdict:
    """Compares whole answers after `normalize`; a truncated completion is never an answer."""
    if truncated:
        return Verdict.TRUNCATED
    answer = extract_marked_answer(reply)
    if not answer:
        return Verdict.NO_ANSWER
    is_target = wording.words(answer) == normalize(target).split()
    return Verdict.CORRECT if is_target else Verdict.WRONG


def is_in_last_line(reply: str, target: str, wording: Wording = AS_IT_STANDS) -> bool:
    """The target is there, as whole words, in the last line that says something."""
    last = next(_telling_lines(reversed(without_reasoning(reply).split("\n"))), "")
    wanted = normalize(target)
    if not all(word in last for word in wanted.split()):
        return False
    words = wording.words(" ".join(map(normalize, last.split())))
    return f" {wanted} " in f" {' '.join(words)} "


def _first_told(lines: Sequence[str]) -> str:
    """The first line that says something, normalized; empty where none does."""
    told = ((at, text) for at, line in enumerate(lines) for text in _telling_lines([line]))
    first, answer = next(told, (0, ""))
    if not _OPENS_BLOCK.fullmatch(lines[first]):
        return answer
    below = lines[first + 1 :]
    end = next((at for at, line in enumerate(below) if _ENDS_BLOCK.fullmatch(line)), 0)
    return next(_telling_lines(below[:end]), answer)


def _telling_lines(lines: Iterable[str]) -> Iterator[str]:
    """Normalized, without those that hold nothing but marks."""
    return (text for line in lines if (text := normalize(line)) and text != _FORMULA)
