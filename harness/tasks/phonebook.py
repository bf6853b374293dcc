"""Phone book: lines of a name and a number, then names; the answer is their numbers."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar, Final

from harnessapi.values import Mode

from harness.sample import Problem
from harness.scoring.wording import Wording
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.drawing import redrawn
from harness.tasks.guessing import in_a_row
from harness.tasks.parameters import parameter
from harness.tasks.problems import Pairs
from harness.tasks.task import Longest, Task
from harness_retrieval.abbreviations import Abbreviation

# Three different digits: a dense search finds a line with one digit thrice less like its name than
# the question is.
_NUMBERS: Final = tuple(" ".join(digits) for digits in permutations(words.NUMERALS[:10], 3))
_MAX_QUERIES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Book(Pairs):
    """Names of two words with their numbers.

    With `=` in the query a line is more like it than the question is, which has both words too.
    """

    joint: ClassVar[str] = " = "
    alphabet: ClassVar[Sequence[str]] = _NUMBERS

    def regex_searches(self) -> Iterator[Step]:
        """Name after name: its number."""
        for place in self.asked:
            yield from lookup(f"{self.keys[place]} =", self.values[place])

    def dense_searches(self) -> Iterator[Step]:
        """Name after name: the whole line."""
        for place in self.asked:
            yield from lookup(f"{self.keys[place]} =", self.pair(place))


@dataclass(frozen=True, kw_only=True, slots=True)
class Phonebook(Task):
    """`size` lines: a name of two words, none twice, and a number of three different digits.

    The words of names are of a small alphabet of each sample's own, so that one word alone finds
    nobody. Prompt: `phonebook ; bab dok = 4 0 7 ; <direct> bab dok`, 7 * size + 3 + 2 * queries
    tokens.
    """

    name = "phonebook"
    summary = "lines of a name and a number, then names; the answer is their numbers"
    source = "Jelassi et al., Repeat After Me (phone book), arXiv 2402.01032"
    instruction = (
        "The context is a phone book: each entry is a name of two words, `=` and a number of three "
        "digits, and after each entry stands a semicolon. The question is one name or several. "
        "Answer with their numbers, digit by digit with spaces between, in the order asked."
    )
    heading = "phonebook ;"
    wording = Wording(is_list=True, num_digits=3)
    guess = (
        "the commonest numbers of the context, each as often as it can be asked; computed, for "
        "some but not all names the mean over 500 contexts"
    )
    size_unit = "entries"
    retrieval_modes = (Mode.DENSE, Mode.REGEX)
    abbreviations = (
        # The number of a name.
        Abbreviation(query="$1 $2 =", pattern=r"\b$1 $2 = (\d \d \d)"),
    )

    queries: int = parameter(
        1,
        "Numbers that are asked at once.",
        lambda size: range(1, min(size, _MAX_QUERIES) + 1),
    )

    @property
    def chance(self) -> float:
        return in_a_row(self.size, len(_NUMBERS), self.queries)

    @property
    def longest(self) -> Longest:
        """A line less its end has six words, a query three and its marks."""
        searches = dict.fromkeys(Mode, 5 * self.queries)
        return Longest(answer=3 * self.queries, thought=6 * self.queries, searches=searches)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Names, numbers and the places asked; then other numbers."""
        alphabet = generator.sample(words.WORDS, max(4, self.size // 2))
        pairs = generator.sample(range(len(alphabet) ** 2), self.size)
        names = [f"{alphabet[n // len(alphabet)]} {alphabet[n % len(alphabet)]}" for n in pairs]
        numbers = generator.choices(_NUMBERS, k=self.size)
        asked = generator.sample(range(self.size), self.queries)
        for row in redrawn(numbers, _NUMBERS, generator):
            yield Book(keys=names, values=row, asked=asked)
