"""Words a sample as the prompt of one way of answering."""

from collections.abc import Sequence

from harness.sample import Prompt, Prompting, Sample, Style
from harness.tasks import vocabulary as words
from harness.tasks.natural import render_natural
from harness.tasks.task import Task, UnsupportedError
from harness_retrieval.types import Mode

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
    """The text of a prompt without worked examples; see `make_prompt`."""
    return make_prompt(task, sample, prompting, style, mode).text


def make_prompt(
    task: Task,
    sample: Sample,
    prompting: Prompting,
    style: Style,
    mode: Mode | None,
    *,
    examples: Sequence[Sample] = (),
) -> Prompt:
    """The prompt of a sample. Raises UnsupportedError for what the task does not have.

    `examples` are worked out in the natural style; the symbolic one is for models trained on it.
    """
    if style not in task.styles:
        known = ", ".join(task.styles)
        raise UnsupportedError(f"{task.name}: no style {style.value}; it has: {known}")
    if prompting not in task.promptings:
        known = ", ".join(task.promptings)
        raise UnsupportedError(f"{task.name}: no prompting {prompting.value}; it has: {known}")
    if prompting is Prompting.SEARCH and mode is not None and mode not in task.retrieval_modes:
        known = ", ".join(task.retrieval_modes)
        raise UnsupportedError(f"{task.name}: no {mode.value} search; it has: {known}")
    question = ask(sample, prompting, mode)
    if style is Style.NATURAL:
        return render_natural(task, sample, prompting, mode, examples)
    return Prompt(text=f"{sample.context} {question}")


def ask(sample: Sample, prompting: Prompting, mode: Mode | None) -> str:
    """The question after its context: the word for the way of answering, then what is asked."""
    return f"{_prompt_word(prompting, mode)} {sample.question}".rstrip()
