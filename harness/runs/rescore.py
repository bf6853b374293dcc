"""Scores stored completions, without a model."""

from harness.clients.completion import Completion
from harness.sample import Style
from harness.scoring.exact import Verdict, extract_answer, score_exact
from harness.scoring.natural import extract_marked_answer, score_marked


def score(completion: Completion, target: str, style: Style) -> tuple[str | None, Verdict]:
    """The answer found and what it is worth; each style marks its answers in its own way."""
    truncated = completion.is_truncated
    if style is Style.NATURAL:
        reply = completion.reply_text
        return extract_marked_answer(reply), score_marked(reply, target, truncated=truncated)
    generated = completion.generated_text
    return extract_answer(generated), score_exact(generated, target, truncated=truncated)
