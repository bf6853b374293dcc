"""What a completion is worth to a sample of its cell: the exact verdict, and the lenient one."""

from collections.abc import Callable
from typing import Final

from harness.clients.completion import Completion
from harness.runs.cell import Cell
from harness.runs.records import SampleRecord
from harness.scoring.exact import Verdict, extract_answer, score_exact
from harness.scoring.marked import extract_marked_answer, is_in_last_line, score_marked
from harness.scoring.wording import Wording
from harness.way import SearchArm, Style

# Those that the lenient verdict may see otherwise: a completion that was cut off is no answer.
_IN_DOUBT: Final = frozenset({Verdict.WRONG, Verdict.NO_ANSWER})

# Whether a stored sample is right, leniently.
Judge = Callable[[SampleRecord], bool]


def score(
    completion: Completion, target: str, cell: Cell, wording: Wording
) -> tuple[str | None, Verdict]:
    """The answer found and what it is worth; each style marks its answers in its own way.

    `wording` is that of the cell's task.
    """
    if completion.is_filtered:
        return None, Verdict.FILTERED
    truncated = completion.is_truncated
    if cell.style is Style.NATURAL:
        reply = completion.reply_text
        verdict = score_marked(reply, target, truncated=truncated, wording=wording)
        return extract_marked_answer(reply), verdict
    generated = completion.generated_text
    return extract_answer(generated), score_exact(generated, target, truncated=truncated)


def lenient_judge(cell: Cell, wording: Wording | None) -> Judge | None:
    """Says of a stored sample whether its target is at least in the last line of the reply.

    What is exactly right is right. None where there is nothing to be lenient about: the symbolic
    style marks its answers; nor for a task whose wording is not known here.
    """
    if cell.style is not Style.NATURAL or wording is None:
        return None

    def is_right(record: SampleRecord) -> bool:
        return record.is_correct or (
            record.verdict in _IN_DOUBT
            and is_in_last_line(record.reply_text, record.target, wording)
        )

    return is_right


def lie_judge(cell: Cell, wording: Wording | None) -> Judge | None:
    """Says of a stored sample whether its answer is the lie that its searches told.

    None where no search lies, and for a task whose wording is not known here.
    """
    if cell.search is not SearchArm.LYING or wording is None:
        return None

    def is_lie(record: SampleRecord) -> bool:
        if record.lie is None:
            return False
        return score(record, record.lie, cell, wording)[1] is Verdict.CORRECT

    return is_lie
