"""Position retrieval: distinct words in a row, then one of them; the answer is its position."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import perm

from harnessapi.values import Mode

from harness.sample import Problem
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.problems import NumberedWords
from harness.tasks.task import Longest, Task
from harness_retrieval.abbreviations import Abbreviation


@dataclass(frozen=True, kw_only=True, slots=True)
class PlaceOfWord(NumberedWords):
    """The word is asked, drawn once there is a row."""

    @property
    def question(self) -> str:
        return self.row[self.place]

    @property
    def target(self) -> str:
        return str(self.place + 1)

    def drawn_question(self, generator: random.Random, /) -> Problem:
        """Each word is as likely."""
        return replace(self, place=generator.randrange(len(self.row)))

    def false_twin(self, generator: random.Random, /) -> Problem | None:
        """The word has changed places with another; there may be none."""
        others = [place for place in range(len(self.row)) if place != self.place]
        if not others:
            return None
        row, place = list(self.row), generator.choice(others)
        row[self.place], row[place] = row[place], row[self.place]
        return replace(self, row=row, place=place)

    def regex_searches(self) -> Iterator[Step]:
        """Is it at 1, at 2, ... until it is found."""
        for place in range(1, self.place + 1):
            yield from lookup(f"{self.question} = {place}", words.FAILED)
        yield from lookup(f"{self.question} = {self.target}", self.question)


@dataclass(frozen=True, kw_only=True, slots=True)
class PositionRetrieval(Task):
    """`size` words, none twice; positions are counted from 1.

    Prompt: `position_retrieval ; bab ; dok ; <direct> dok`, 2 * size + 4 tokens.
    """

    name = "position_retrieval"
    summary = "words in a row, then one of them; the answer is its position"
    source = "Retrievit (position of a token), arXiv 2603.02874"
    instruction = (
        "The context is a list of words, each followed by a semicolon; no word occurs twice. The "
        "question is one of the words. Answer with its position in the list, counted from 1."
    )
    heading = "position_retrieval ;"
    guess = "any position; computed"
    size_unit = "words"
    max_size = len(words.WORDS)
    retrieval_modes = (Mode.REGEX, Mode.DENSE)
    impossible = {
        Mode.DENSE: "a look-up by likeness gives words back and no positions; what is most like a "
        "word, and says more, is the question itself"
    }
    abbreviations = (
        # Whether a word stands at a position.
        Abbreviation(query="$1 = $2", pattern=r"^(?:[^;]*; ){$2}($1) ;"),
    )

    @property
    def chance(self) -> float:
        return 1 / self.size

    @property
    def num_distinct(self) -> int | None:
        return perm(len(words.WORDS), self.size) * self.size

    @property
    def longest(self) -> Longest:
        """A search for every position up to the last."""
        searches = {Mode.REGEX: 5 * self.size, Mode.DENSE: 3}
        return Longest(thought=2 * self.size, searches=searches)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        while True:
            yield PlaceOfWord(row=generator.sample(words.WORDS, self.size), place=0)
