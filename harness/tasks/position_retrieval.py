"""Position retrieval: distinct words in a row, then one of them; the answer is its position."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_size, draw_until
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionRetrieval:
    """`size` words, none twice; positions are counted from 1.

    Prompt: `position_retrieval ; bab ; dok ; <direct> dok`, 2 * size + 4 tokens.
    """

    name: ClassVar[str] = "position_retrieval"
    summary: ClassVar[str] = "words in a row, then one of them; the answer is its position"
    source: ClassVar[str] = "Retrievit (position of a token), arXiv 2603.02874"
    instruction: ClassVar[str] = (
        "The context is a list of words, each followed by a semicolon; no word occurs twice. The "
        "question is one of the words. Answer with its position in the list, counted from 1."
    )
    size_unit: ClassVar[str] = "words"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = len(words.WORDS)
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.REGEX, Mode.DENSE)
    impossible: ClassVar[Mapping[Mode, str]] = {
        Mode.DENSE: "a look-up by likeness gives words back and no positions; what is most like a "
        "word, and says more, is the question itself"
    }
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = (
        # Whether a word stands at a position.
        Abbreviation(query="$1 = $2", pattern=r"^(?:[^;]*; ){$2}($1) ;"),
    )

    size: int = 16

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size out of range."""
        check_size(self)

    @property
    def chance(self) -> float:
        """Naming any position."""
        return 1 / self.size

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        context, drawn = draw_until(split, lambda: self._draw(generator))
        sample = Sample(address=address, context=context, question="", target="")
        return _ask(sample, drawn, generator.randrange(self.size))

    def _draw(self, generator: random.Random) -> tuple[str, list[str]]:
        drawn = generator.sample(words.WORDS, self.size)
        return " ; ".join((self.name, *drawn)) + " ;", drawn

    def siblings(self, sample: Sample) -> list[Sample]:
        """Every word of the same context, from the first to the last."""
        drawn = sample.context.split()[2::2]
        return [_ask(sample, drawn, position) for position in range(len(drawn))]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:
        """Tokens that the longest worked completion takes."""
        search = 3 if mode is Mode.DENSE else 5 * self.size
        thought = {Prompting.DIRECT: 0, Prompting.COT: 2 * self.size, Prompting.SEARCH: search}
        return thought[prompting] + 3

    def demonstration(
        self, sample: Sample, prompting: Prompting, mode: Mode | None
    ) -> tuple[Segment, ...]:
        """CoT: a numbered copy up to the word. Search: is it at 1, at 2, ... until it is found.

        A dense search can only give the question back; the right answer follows nevertheless.
        """
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        if prompting is Prompting.COT:
            copied = sample.context.split()[2::2][: int(sample.target)]
            numbered = (f"{number} {word}" for number, word in enumerate(copied, start=1))
            return worked.chain(" ".join(numbered), sample.target)
        return (*_searches(sample, mode), worked.answer(sample.target))


def _searches(sample: Sample, mode: Mode | None) -> Iterator[Segment]:
    word, position = sample.question, int(sample.target)
    if mode is Mode.DENSE:
        yield worked.query(word)
        yield worked.found(f"{words.DENSE} {word}")
        return
    for tried in range(1, position + 1):
        yield worked.query(f"{word} = {tried}")
        yield worked.found(word if tried == position else words.FAILED)


def _ask(sample: Sample, drawn: list[str], position: int) -> Sample:
    metadata: dict[str, str | int] = {"position": position}
    return replace(sample, question=drawn[position], target=str(position + 1), metadata=metadata)
