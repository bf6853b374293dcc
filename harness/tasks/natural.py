"""Words a sample for language models: an instruction, worked problems, and the one to solve."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from harnessapi.values import Mode

from harness.sample import Exchange, Prompt, Sample, Split
from harness.scoring.marked import ANSWER_LABEL
from harness.steps import Answer, Found, Query, Step
from harness.tasks import vocabulary as words
from harness.tasks.task import Task
from harness.way import Prompting, Reading, Way

_HEADING: Final = "[Problem"
_CONTEXT: Final = "Context:"
_AGAIN: Final = "Context, once more:"
_QUESTION: Final = "Question:"
# A dot with its space is a token of every tokenizer of language.
FILLER: Final = "."
# On one line with what is written: `.` in a pattern does not reach over the end of a line.
_RESULT_START: Final = " <result> "
_RESULT_END: Final = " </result> "

_HOW: Final = {
    Prompting.DIRECT: f"Reply with the answer line only: `{ANSWER_LABEL}`, then the answer.",
    Prompting.COT: "Think step by step, then write the answer on a line of its own: "
    f"`{ANSWER_LABEL}`, then the answer.",
    Prompting.SEARCH: "Search as often as you need, then write the answer on a line of its own: "
    f"`{ANSWER_LABEL}`, then the answer.",
}
_CHANNEL: Final = (
    f"While you write, you can search the context. Write {words.SEARCH_START} query "
    f"{words.SEARCH_END} and stop there: the result is given to you as{_RESULT_START}result"
    f"{_RESULT_END.rstrip()}, or {words.FAILED} in its place, and you go on. Searched is the "
    "context and the question of your problem, and what you have written and found since."
)
_QUERIES: Final = {
    Mode.REGEX: "A query is a regular expression in RE2 syntax. The result is the first group of "
    "its leftmost match, or the whole match where it has no group.",
    Mode.DENSE: "A query is one word or several. The result is the passage that is most like it; "
    f"a passage ends at each `{words.SEPARATOR}`.",
}


def render_natural(
    task: Task, sample: Sample, way: Way, examples: Sequence[Sample], searched: Sample
) -> Prompt:
    """The examples come with their worked completions, in the order given, and read alike.

    `searched` is what searches look through: its context and the question once, without filler.
    """
    parts, mode = [task.instruction], way.retrieval
    if mode is not None:
        parts.append(f"{_CHANNEL} {_QUERIES[mode]}{_short_queries(task, mode)}")
    how = _HOW[way.prompting]
    *worked, asked = [
        _problem(one, number, way) for number, one in enumerate([*examples, sample], start=1)
    ]
    solved = [
        f"{problem}{write(example.steps(way))}"
        for problem, example in zip(worked, examples, strict=True)
    ]
    first, *later = [problem.rstrip("\n") for problem in (*worked, asked)]
    messages = ["\n\n".join([*parts, how, first]), *later]
    return Prompt(
        text="\n\n".join([*parts, how + _outline(len(examples)), *solved, asked]),
        # On one line, as the symbolic style has them: the worked queries are made for that.
        searched=f"{_context(searched, mode)} {_question(sample)}".rstrip() + " ",
        joint="",
        result_start=_RESULT_START,
        result_end=_RESULT_END,
        failed=words.FAILED,
        is_language=True,
        stops=(f"\n{_HEADING}",),
        exchanges=tuple(
            _exchange(message, example, way)
            for message, example in zip(messages[:-1], examples, strict=True)
        ),
        asked=messages[-1],
    )


def _exchange(asked: str, example: Sample, way: Way) -> Exchange:
    steps = list(example.steps(way))
    return Exchange(asked=asked, reply=write(steps), turns=write_turns(steps))


def worked_examples(task: Task, seed: int, num_examples: int) -> tuple[Sample, ...]:
    """The first samples of the train split with contexts of their own: none is ever asked.

    Of a balanced task each target has as many, give or take one. Fewer where a task is so small
    that its split has fewer contexts.
    """
    return tuple(islice(_distinct(task, seed, num_examples), num_examples))


def _distinct(task: Task, seed: int, num_examples: int) -> Iterator[Sample]:
    seen = set()
    num_targets = len(task.few_targets) if task.draws_evenly else 1
    left = Counter(dict.fromkeys(task.few_targets, -(-num_examples // num_targets)))
    for index in range(100 * num_examples):
        sample = task.sample(Split.TRAIN, seed, index)
        if sample.context in seen or (task.draws_evenly and not left[sample.target]):
            continue
        left[sample.target] -= 1
        seen.add(sample.context)
        yield sample


def _short_queries(task: Task, mode: Mode) -> str:
    if mode is not Mode.REGEX or not task.abbreviations:
        return ""
    listed = ", ".join(f"`{one.query}` for `{one.pattern}`" for one in task.abbreviations)
    return f" These short queries stand for patterns, $1 and $2 for any word: {listed}."


def _outline(num_examples: int) -> str:
    if not num_examples:
        return ""
    solved = "Problem 1 is" if num_examples == 1 else f"Problems 1 to {num_examples} are"
    return f" {solved} solved below; solve problem {num_examples + 1}."


def _problem(sample: Sample, number: int, way: Way) -> str:
    """Ends with a line break: the next word is the model's."""
    context, question = _context(sample, way.retrieval), _question(sample)
    lines = [
        f"{_HEADING} {number}]",
        question if way.reading is Reading.QUESTION_FIRST else "",
        f"{_CONTEXT} {context}",
        f"{_AGAIN} {context}" if way.reading is Reading.TWICE else "",
        question,
        " ".join([FILLER] * way.filler),
    ]
    return "".join(f"{line}\n" for line in lines if line)


def _question(sample: Sample) -> str:
    return f"{_QUESTION} {sample.question}" if sample.question else ""


def _context(sample: Sample, mode: Mode | None) -> str:
    """Without the words before it, but for searches: patterns count words from the first one on."""
    return sample.problem.text if mode is None else sample.context


def write(steps: Iterable[Step]) -> str:
    """A worked completion as a language model would write it, the results of searches in it."""
    *chain, answer = map(step_text, steps)
    return f"{' '.join(chain)}\n{answer}" if chain else answer


def write_turns(steps: Iterable[Step]) -> tuple[str, ...]:
    """The same in a conversation: each result is a message of its own, between the model's."""
    turns, written = [], list[Step]()
    for step in steps:
        if isinstance(step, Found):
            turns += [" ".join(map(step_text, written)), step_text(step)]
            written = []
        else:
            written.append(step)
    return (*turns, write(written))


def found_text(step: Found) -> str:
    """What a search finds; a passage that is the question has the word that asks before it."""
    return f"{_QUESTION} {step.text}" if step.is_question else step.text


def step_text(step: Step) -> str:
    """One step of it."""
    match step:
        case Query():
            return f"{words.SEARCH_START} {step.text} {words.SEARCH_END}"
        case Found():
            return f"{_RESULT_START}{found_text(step)}{_RESULT_END}".strip()
        case Answer():
            return f"{ANSWER_LABEL} {step.text}"
        case _:
            return step.text
