"""Parity: bits in a row; the answer is 1 if the number of ones is odd, else 0."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from operator import xor
from typing import ClassVar, Final

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_size, draw_until
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode

_SEARCH_DOES_NOT_HELP: Final = "every bit counts: nothing has to be found, a bit has to be kept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """`size` bits, each drawn by a fair coin.

    Prompt: `parity 0 1 1 ; <direct>`, size + 3 tokens.
    """

    name: ClassVar[str] = "parity"
    summary: ClassVar[str] = "bits in a row; 1 if the number of ones is odd, else 0"
    source: ClassVar[str] = "Hahn, arXiv 1906.06755 (parity); Merrill et al., arXiv 2404.08819"
    instruction: ClassVar[str] = (
        "The context is a sequence of bits that ends with a semicolon. Answer 1 if the number of "
        "ones among them is odd, else answer 0."
    )
    size_unit: ClassVar[str] = "bits"
    # Below, hardly any context would be left for each split.
    min_size: ClassVar[int] = 4
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = (Prompting.DIRECT, Prompting.COT)
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
        """Half of all rows are odd (in a split of few bits it may be a little more or less)."""
        return 0.5

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        context, bits = draw_until(split, lambda: self._draw(generator))
        return Sample(
            address=address, context=context, question="", target=str(bits.count("1") % 2)
        )

    def _draw(self, generator: random.Random) -> tuple[str, list[str]]:
        bits = generator.choices("01", k=self.size)
        return " ".join((self.name, *bits, words.SEPARATOR)), bits

    def siblings(self, sample: Sample) -> list[Sample]:
        """There is one question about a row of bits."""
        return [sample]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        return (self.size if prompting is Prompting.COT else 0) + 3

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """CoT: the parity of all bits so far, after each bit."""
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        return worked.chain(" ".join(_so_far(sample.context)), sample.target)


def _so_far(context: str) -> Iterator[str]:
    bits = (int(bit) for bit in context.split()[1:-1])
    return (str(parity) for parity in accumulate(bits, xor))
