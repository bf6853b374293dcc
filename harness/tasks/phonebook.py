"""Phone book: lines of a name and a number, then names; the answer is their numbers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar, Final

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_parameter, check_size, settle, shifts
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode

# Three different digits: a dense search finds a line with one digit thrice less like its name than
# the question is.
_NUMBERS: Final = tuple(" ".join(digits) for digits in permutations(words.NUMERALS[:10], 3))
_LINE_WORDS: Final = 7
_MAX_QUERIES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Phonebook:
    """`size` lines: a name of two words, none twice, and a number of three different digits.

    The words of names are of a small alphabet of each sample's own, so that one word alone finds
    nobody. Prompt: `phonebook ; bab dok = 4 0 7 ; <direct> bab dok`, 7 * size + 3 + 2 * queries
    tokens.
    """

    name: ClassVar[str] = "phonebook"
    summary: ClassVar[str] = "lines of a name and a number, then names; the answer is their numbers"
    source: ClassVar[str] = "Jelassi et al., Repeat After Me (phone book), arXiv 2402.01032"
    instruction: ClassVar[str] = (
        "The context is a phone book: each entry is a name of two words, `=` and a number of three "
        "digits, and after each entry stands a semicolon. The question is one name or several. "
        "Answer with their numbers, digit by digit with spaces between, in the order asked."
    )
    size_unit: ClassVar[str] = "entries"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.DENSE, Mode.REGEX)
    impossible: ClassVar[Mapping[Mode, str]] = {}
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = (
        # The number of a name.
        Abbreviation(query="$1 $2 =", pattern=r"\b$1 $2 = (\d \d \d)"),
    )

    size: int = 16
    # Numbers that are asked at once.
    queries: int = 1

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size or a number of queries out of range."""
        check_size(self)
        check_parameter(self, "queries", 1, min(self.size, _MAX_QUERIES))

    @property
    def chance(self) -> float:
        """Naming any number that stands in the prompt, for each name."""
        return float(self.size) ** -self.queries

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        alphabet = generator.sample(words.WORDS, max(4, self.size // 2))
        pairs = generator.sample(range(len(alphabet) ** 2), self.size)
        names = [f"{alphabet[n // len(alphabet)]} {alphabet[n % len(alphabet)]}" for n in pairs]
        numbers = generator.choices(_NUMBERS, k=self.size)
        asked = generator.sample(range(self.size), self.queries)
        context = settle(
            split, generator, numbers, _NUMBERS, lambda drawn: self._context(names, drawn)
        )
        sample = Sample(address=address, context=context, question="", target="")
        return _ask(sample, names, numbers, asked)

    def _context(self, names: Sequence[str], numbers: Sequence[str]) -> str:
        lines = (f"{name} = {number}" for name, number in zip(names, numbers, strict=True))
        return " ; ".join((self.name, *lines)) + " ;"

    def siblings(self, sample: Sample) -> list[Sample]:
        """As many questions as entries: the positions asked, moved on by one at a time."""
        row = sample.context.split()[2:]
        lines = [row[start : start + _LINE_WORDS] for start in range(0, len(row), _LINE_WORDS)]
        names = [" ".join(line[:2]) for line in lines]
        numbers = [" ".join(line[3:6]) for line in lines]
        asked = [names.index(name) for name in _names(sample)]
        return [_ask(sample, names, numbers, moved) for moved in shifts(asked, self.size)]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        thought = {Prompting.DIRECT: 0, Prompting.COT: 6, Prompting.SEARCH: 5}
        return (thought[prompting] + 3) * self.queries + 2

    def demonstration(
        self, sample: Sample, prompting: Prompting, mode: Mode | None
    ) -> tuple[Segment, ...]:
        """Direct: the numbers. CoT: the lines first. Search: name after name, then the numbers."""
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        digits = sample.target.split()
        numbers = [" ".join(digits[start : start + 3]) for start in range(0, len(digits), 3)]
        asked = list(zip(_names(sample), numbers, strict=True))
        if prompting is Prompting.COT:
            lines = (f"{name} = {number}" for name, number in asked)
            return worked.chain(" ".join(lines), sample.target)
        return (*_searches(asked, mode), worked.answer(sample.target))


def _searches(asked: Sequence[tuple[str, str]], mode: Mode | None) -> Iterator[Segment]:
    """A regular expression returns the number, a dense search the whole line.

    With `=` in the query a line is more like it than the question is, which has both words too.
    """
    for name, number in asked:
        yield worked.query(f"{name} =")
        yield worked.found(number if mode is Mode.REGEX else f"{name} = {number}")


def _names(sample: Sample) -> list[str]:
    row = sample.question.split()
    return [f"{first} {last}" for first, last in zip(row[0::2], row[1::2], strict=True)]


def _ask(
    sample: Sample, names: Sequence[str], numbers: Sequence[str], asked: Sequence[int]
) -> Sample:
    return replace(
        sample,
        question=" ".join(names[position] for position in asked),
        target=" ".join(numbers[position] for position in asked),
        metadata={"positions": " ".join(str(position) for position in asked)},
    )
