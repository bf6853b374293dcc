"""Index: words in a row, then a position; the answer is the word that stands there."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from harnessapi.values import Mode

from harness.sample import Problem
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.drawing import redrawn
from harness.tasks.guessing import commonest
from harness.tasks.problems import NumberedWords
from harness.tasks.task import Longest, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class WordAtPlace(NumberedWords):
    """The place is asked."""

    @property
    def question(self) -> str:
        return str(self.place + 1)

    @property
    def target(self) -> str:
        return self.row[self.place]

    def false_twin(self, generator: random.Random, /) -> Problem:
        """Another word stands at the place."""
        return self.with_word(self.place, generator)

    def regex_searches(self) -> Iterator[Step]:
        """Skip so many words, take the next."""
        yield from lookup(rf"^(?:[^;]*; ){{{self.question}}}(\S+)", self.target)


@dataclass(frozen=True, kw_only=True, slots=True)
class Index(Task):
    """`size` words drawn with replacement; positions are counted from 1.

    Prompt: `index ; bab ; dok ; bab ; <direct> 2`, 2 * size + 4 tokens.
    """

    name = "index"
    summary = "words in a row, then a position; the answer is the word there"
    source = "arXiv 2402.18510, section 4.2 (index)"
    instruction = (
        "The context is a list of words, each followed by a semicolon. The question is a position "
        "in the list, counted from 1. Answer with the word that stands at that position."
    )
    heading = "index ;"
    guess = "the commonest word of the context; computed"
    size_unit = "words"
    retrieval_modes = (Mode.REGEX, Mode.DENSE)
    impossible = {
        Mode.DENSE: "a look-up by likeness knows no positions (arXiv 2402.18510, Proposition 5.1); "
        "what is most like a position is the question itself"
    }

    @property
    def chance(self) -> float:
        return commonest(self.size, len(words.WORDS))

    @property
    def num_distinct(self) -> int | None:
        return int(len(words.WORDS) ** self.size) * self.size

    @property
    def longest(self) -> Longest:
        """A thought copies the row with its numbers."""
        return Longest(thought=2 * self.size, searches=dict.fromkeys(Mode, 6))

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Words and the place asked; then other words."""
        row = generator.choices(words.WORDS, k=self.size)
        place = generator.randrange(self.size)
        for drawn in redrawn(row, words.WORDS, generator):
            yield WordAtPlace(row=drawn, place=place)
