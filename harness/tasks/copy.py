"""Copying: a string of words; the answer is the same string."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_size, settle
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode

_SEARCH_DOES_NOT_HELP: Final = (
    "the answer is written in one piece: what searches find would have to be kept until then, and "
    "that is all of the context (so it is with a chain of thought, which is the answer already)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """`size` words drawn with replacement.

    Prompt: `copy ; bab dok bab ; <direct>`, size + 4 tokens.
    """

    name: ClassVar[str] = "copy"
    summary: ClassVar[str] = "a string of words; the answer is the same string"
    source: ClassVar[str] = "Jelassi et al., Repeat After Me, arXiv 2402.01032"
    instruction: ClassVar[str] = (
        "The context is a sequence of words that ends with a semicolon. There is no question "
        "beside it. Answer with the same words in the same order, without the semicolon."
    )
    size_unit: ClassVar[str] = "words"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = (Prompting.DIRECT,)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = ()
    impossible: ClassVar[Mapping[Mode, str]] = dict.fromkeys(Mode, _SEARCH_DOES_NOT_HELP)
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size out of range."""
        check_size(self)

    @property
    def chance(self) -> float:
        """Naming as many words at random."""
        return float(len(words.WORDS)) ** -self.size

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        drawn = generator.choices(words.WORDS, k=self.size)
        context = settle(split, generator, drawn, words.WORDS, self._context)
        return Sample(
            address=address, context=context, question="", target=" ".join(drawn), metadata={}
        )

    def _context(self, drawn: Sequence[str]) -> str:
        return " ; ".join((self.name, " ".join(drawn))) + " ;"

    def siblings(self, sample: Sample) -> list[Sample]:
        """There is one question about a string."""
        return [sample]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        return self.size + 2

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,  # noqa: ARG002
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """The string."""
        return (worked.answer(sample.target),)
