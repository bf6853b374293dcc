"""Words a sample as the prompt of one way of answering."""

from collections.abc import Sequence

from harness.sample import Prompt, Sample
from harness.tasks.natural import render_natural
from harness.tasks.symbolic import ask
from harness.tasks.task import Task
from harness.way import Style, Way


def render(task: Task, sample: Sample, way: Way) -> str:
    """The text of a prompt without worked examples; see `make_prompt`."""
    return make_prompt(task, sample, way).text


def make_prompt(task: Task, sample: Sample, way: Way, *, examples: Sequence[Sample] = ()) -> Prompt:
    """The prompt of a sample. Raises UnsupportedError for what the task does not have.

    `examples` are worked out in the natural style; the symbolic one is for models trained on it.
    """
    task.require(way)
    if way.style is Style.NATURAL:
        return render_natural(task, sample, way, examples)
    return Prompt(text=f"{sample.context} {ask(sample, way)}")
