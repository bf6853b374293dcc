"""Copying: a string of words; the answer is the same string."""

from dataclasses import dataclass
from typing import ClassVar

from harness.sample import Address, Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks.splits import split_of
from harness.tasks.task import UnsupportedError
from retrieval.types import Mode


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

    size: int = 16

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size out of range."""
        if not self.min_size <= self.size <= self.max_size:
            raise UnsupportedError(
                f"{self.name}: size {self.size} is out of range: "
                f"{self.min_size} to {self.max_size} {self.size_unit}"
            )

    @property
    def chance(self) -> float:
        """Naming as many words at random."""
        return float(len(words.WORDS)) ** -self.size

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = Address(
            task=self.name,
            parameters=(("size", self.size),),
            split=split,
            seed=seed,
            index=index,
        )
        generator = address.random()
        drawn = generator.choices(words.WORDS, k=self.size)
        while split_of(context := f"{self.name} ; {' '.join(drawn)} ;") is not split:
            drawn[generator.randrange(self.size)] = generator.choice(words.WORDS)
        return Sample(
            address=address, context=context, question="", target=" ".join(drawn), metadata={}
        )

    def siblings(self, sample: Sample) -> list[Sample]:
        """There is one question about a string."""
        return [sample]

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,  # noqa: ARG002
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """The string."""
        return (Segment(text=f"{words.ANSWER} {sample.target} {words.EOS}"),)
