"""Permutation composition: permutations of five items; the answer is what their product does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar, Final

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_size, settle
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode

_NUM_ITEMS: Final = 5
_PERMUTATIONS: Final = tuple(
    " ".join(order) for order in permutations(words.NUMERALS[1 : _NUM_ITEMS + 1])
)
_SEARCH_DOES_NOT_HELP: Final = (
    "every permutation counts, in its order: nothing has to be found, a state has to be kept"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PermutationComposition:
    """`size` permutations in a row, of the 120 of five items, each as likely.

    A permutation lists which place each item is taken from: `2 1 3 5 4` makes `b a c e d` of
    `a b c d e`. Prompt: `permutation_composition ; 2 1 3 5 4 ; 3 1 2 4 5 ; <direct>`, 6 * size + 3
    tokens.
    """

    name: ClassVar[str] = "permutation_composition"
    summary: ClassVar[str] = "permutations of five items; the answer is what they do in a row"
    source: ClassVar[str] = "the word problem of S5: Merrill et al., arXiv 2404.08819"
    instruction: ClassVar[str] = (
        "The context is a list of permutations of five items, and after each one a semicolon. "
        "Start from 1 2 3 4 5 and apply them from left to right. A permutation says for each "
        "place, from left to right, from which place of the row before its item is taken: "
        "2 1 3 5 4 makes 3 1 2 5 4 of 1 3 2 4 5. Answer with the row at the end."
    )
    size_unit: ClassVar[str] = "permutations"
    min_size: ClassVar[int] = 1
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
        """Naming any permutation: without the last one, all products are as likely."""
        return 1 / len(_PERMUTATIONS)

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        drawn = generator.choices(_PERMUTATIONS, k=self.size)
        context = settle(split, generator, drawn, _PERMUTATIONS, self._context)
        sample = Sample(address=address, context=context, question="", target="")
        *_, target = _rows(context)
        return replace(sample, target=target)

    def _context(self, drawn: Sequence[str]) -> str:
        return " ; ".join((self.name, *drawn)) + " ;"

    def siblings(self, sample: Sample) -> list[Sample]:
        """There is one question about a row of permutations."""
        return [sample]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        return (6 * self.size - 1 if prompting is Prompting.COT else 0) + _NUM_ITEMS + 2

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """CoT: the row after each permutation."""
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        return worked.chain(" > ".join(_rows(sample.context)), sample.target)


def _rows(context: str) -> Iterator[str]:
    """The five items after each permutation of the context."""
    row = words.NUMERALS[1 : _NUM_ITEMS + 1]
    for permutation in context.split(f" {words.SEPARATOR}")[1:-1]:
        row = tuple(row[int(place) - 1] for place in permutation.split())
        yield " ".join(row)
