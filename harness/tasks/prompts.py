"""Words a sample as the prompt of one way of answering."""

from harness.sample import Prompting, Sample, Style
from harness.tasks import vocabulary as words
from harness.tasks.task import Task, UnsupportedError
from retrieval.types import Mode

_SEARCH_WORDS = {Mode.REGEX: words.REGEX, Mode.DENSE: words.DENSE}


def _prompt_word(prompting: Prompting, mode: Mode | None) -> str:
    """The word that asks, and how. Raises UnsupportedError for a search without a mode."""
    if prompting is Prompting.DIRECT:
        return words.DIRECT
    if prompting is Prompting.COT:
        return words.COT
    if mode is None:
        raise UnsupportedError("prompting search needs a kind of retrieval: regex or dense")
    return _SEARCH_WORDS[mode]


def render(
    task: Task, sample: Sample, prompting: Prompting, style: Style, mode: Mode | None
) -> str:
    """The prompt text of a sample. Raises UnsupportedError for what the task does not have."""
    if style not in task.styles:
        known = ", ".join(task.styles)
        raise UnsupportedError(f"{task.name}: no style {style.value}; it has: {known}")
    if prompting not in task.promptings:
        known = ", ".join(task.promptings)
        raise UnsupportedError(f"{task.name}: no prompting {prompting.value}; it has: {known}")
    if prompting is Prompting.SEARCH and mode is not None and mode not in task.retrieval_modes:
        known = ", ".join(task.retrieval_modes)
        raise UnsupportedError(f"{task.name}: no {mode.value} search; it has: {known}")
    return f"{sample.context} {ask(sample, prompting, mode)}"


def ask(sample: Sample, prompting: Prompting, mode: Mode | None) -> str:
    """The question after its context: the word for the way of answering, then what is asked."""
    return f"{_prompt_word(prompting, mode)} {sample.question}".rstrip()
