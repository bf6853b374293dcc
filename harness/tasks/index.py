"""Index: words in a row, then a position; the answer is the word that stands there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_size, settle
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """`size` words drawn with replacement; positions are counted from 1.

    Prompt: `index ; bab ; dok ; bab ; <direct> 2`, 2 * size + 4 tokens.
    """

    name: ClassVar[str] = "index"
    summary: ClassVar[str] = "words in a row, then a position; the answer is the word there"
    source: ClassVar[str] = "arXiv 2402.18510, section 4.2 (index)"
    instruction: ClassVar[str] = (
        "The context is a list of words, each followed by a semicolon. The question is a position "
        "in the list, counted from 1. Answer with the word that stands at that position."
    )
    size_unit: ClassVar[str] = "words"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.REGEX, Mode.DENSE)
    impossible: ClassVar[Mapping[Mode, str]] = {
        Mode.DENSE: "a look-up by likeness knows no positions (arXiv 2402.18510, Proposition 5.1); "
        "what is most like a position is the question itself"
    }
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size out of range."""
        check_size(self)

    @property
    def chance(self) -> float:
        """Naming any word of the context."""
        return 1 / self.size

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        drawn = generator.choices(words.WORDS, k=self.size)
        position = generator.randrange(self.size)
        context = settle(split, generator, drawn, words.WORDS, self._context)
        sample = Sample(address=address, context=context, question="", target="")
        return self._ask(sample, position, drawn[position])

    def _context(self, drawn: Sequence[str]) -> str:
        return " ; ".join((self.name, *drawn)) + " ;"

    def _ask(self, sample: Sample, position: int, word: str) -> Sample:
        metadata: dict[str, str | int] = {"position": position}
        return replace(sample, question=str(position + 1), target=word, metadata=metadata)

    def siblings(self, sample: Sample) -> list[Sample]:
        """Every position of the same words, from the first to the last."""
        return [self._ask(sample, *item) for item in enumerate(sample.context.split()[2::2])]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        thought = {Prompting.DIRECT: 0, Prompting.COT: 2 * self.size, Prompting.SEARCH: 6}
        return thought[prompting] + 3

    def demonstration(
        self, sample: Sample, prompting: Prompting, mode: Mode | None
    ) -> tuple[Segment, ...]:
        """CoT: a numbered copy up to the position. Search: skip so many words, take the next.

        A dense search can only give the question back; the right answer follows nevertheless.
        """
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        if prompting is Prompting.COT:
            copied = sample.context.split()[2::2][: int(sample.question)]
            numbered = (f"{number} {word}" for number, word in enumerate(copied, start=1))
            return worked.chain(" ".join(numbered), sample.target)
        if mode is Mode.REGEX:
            pattern = rf"^(?:[^;]*; ){{{sample.question}}}(\S+)"
            query, result = pattern, sample.target
        else:
            query, result = sample.question, f"{words.DENSE} {sample.question}"
        return worked.query(query), worked.found(result), worked.answer(sample.target)
