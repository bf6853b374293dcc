"""Words a sample in the short alphabet of our checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from harnessapi.values import Mode

from harness.sample import Prompt, Sample
from harness.steps import Answer, Found, Query, Step
from harness.tasks import vocabulary as words
from harness.way import Prompting, Reading, Way

# The word that asks, and how to answer.
_PROMPT_WORDS: Final = {
    (Prompting.DIRECT, None): words.DIRECT,
    (Prompting.COT, None): words.COT,
    (Prompting.SEARCH, Mode.REGEX): words.REGEX,
    (Prompting.SEARCH, Mode.DENSE): words.DENSE,
}

# It stands in no sample, so it says nothing of any.
FILLER: Final = words.PAD


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A piece of a worked completion: written by the model in one go, or inserted by its search."""

    text: str
    inserted: bool


def ask(sample: Sample, way: Way) -> str:
    """The question after its context: the word for the way of answering, then what is asked."""
    return f"{_PROMPT_WORDS[way.prompting, way.retrieval]} {sample.question}".rstrip()


def render_symbolic(sample: Sample, way: Way, searched: Sample) -> Prompt:
    """The context, what asks about it, and filler; `searched` is what searches look through.

    They see each once and no filler, however the model reads it.
    """
    asked = ask(sample, way)
    read = {
        Reading.ONCE: [sample.context],
        Reading.TWICE: [sample.context, sample.context],
        Reading.QUESTION_FIRST: [asked, sample.context],
    }
    text = " ".join([*read[way.reading], asked, *[FILLER] * way.filler])
    once = f"{searched.context} {asked}"
    is_apart = way.retrieval is not None and once != text
    return Prompt(text=text, searched=once if is_apart else None)


def write(steps: Iterable[Step]) -> tuple[Piece, ...]:
    """A worked completion; what the model writes in one go is one piece."""
    return tuple(
        Piece(text=" ".join(map(_text, group)), inserted=inserted)
        for inserted, group in groupby(steps, key=lambda step: isinstance(step, Found))
    )


def show(steps: Iterable[Step]) -> str:
    """For people: what a search inserts stands in square brackets."""
    return " ".join(f"[{one.text}]" if one.inserted else one.text for one in write(steps))


def _text(step: Step) -> str:
    match step:
        case Query():
            return f"{words.SEARCH_START} {step.text} {words.SEARCH_END}"
        case Found(is_question=True):
            return f"{words.DENSE} {step.text}"
        case Answer():
            return f"{words.ANSWER} {step.text} {words.EOS}"
        case _:
            return step.text
