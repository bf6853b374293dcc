"""Words a sample as the prompt of one way of answering."""

from collections.abc import Sequence

from harness.sample import Prompt, Sample
from harness.tasks.natural import render_natural
from harness.tasks.symbolic import render_symbolic
from harness.tasks.task import Task, UnsupportedError
from harness.way import Reading, SearchArm, Style, Way


def render(task: Task, sample: Sample, way: Way) -> str:
    """The text of a prompt without worked examples; see `make_prompt`."""
    return make_prompt(task, sample, way).text


def make_prompt(task: Task, sample: Sample, way: Way, *, examples: Sequence[Sample] = ()) -> Prompt:
    """The prompt of a sample. Raises UnsupportedError for what the task does not have.

    `examples` are worked out in the natural style; the symbolic one is for models trained on it.
    """
    task.require(way)
    if way.reading is Reading.QUESTION_FIRST and not sample.question:
        raise UnsupportedError(
            f"{task.name}: its context alone is the question: reading {way.reading} would read it "
            "once, as it is"
        )
    searched = sample if way.search is not SearchArm.LYING else _false_twin(task, sample)
    if way.style is Style.NATURAL:
        return render_natural(task, sample, way, examples, searched)
    return render_symbolic(sample, way, searched)


def _false_twin(task: Task, sample: Sample) -> Sample:
    try:
        twin = sample.false_twin()
    except ValueError as error:
        raise UnsupportedError(f"{task.name}: {error}") from None
    if twin is None:
        raise UnsupportedError(
            f"{task.name}: no search {SearchArm.LYING}: {type(sample.problem).__name__} at size "
            f"{task.size} has no false twin, in which another answer is right"
        )
    return twin
