"""Copying: a string of words; the answer is the same string."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from harnessapi.values import Mode

from harness.sample import Problem
from harness.tasks import vocabulary as words
from harness.tasks.drawing import redrawn
from harness.tasks.guessing import in_a_row
from harness.tasks.problems import Row
from harness.tasks.task import Longest, Task
from harness.way import Prompting


@dataclass(frozen=True, kw_only=True, slots=True)
class String(Row):
    """Words; there is one question about them."""

    @property
    def target(self) -> str:
        return " ".join(self.row)


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy(Task):
    """`size` words drawn with replacement.

    Prompt: `copy ; bab dok bab ; <direct>`, size + 4 tokens.
    """

    name = "copy"
    summary = "a string of words; the answer is the same string"
    source = "Jelassi et al., Repeat After Me, arXiv 2402.01032"
    instruction = (
        "The context is a sequence of words that ends with a semicolon. There is no question "
        "beside it. Answer with the same words in the same order, without the semicolon."
    )
    heading = "copy ;"
    guess = "the words of the context, in any order; computed"
    size_unit = "words"
    promptings = (Prompting.DIRECT,)
    impossible = dict.fromkeys(
        Mode,
        "the answer is written in one piece: what searches find would have to be kept until then, "
        "and that is all of the context (so it is with a chain of thought, which is the answer "
        "already)",
    )

    @property
    def chance(self) -> float:
        return in_a_row(self.size, len(words.WORDS), self.size)

    @property
    def num_distinct(self) -> int | None:
        return int(len(words.WORDS) ** self.size)

    @property
    def longest(self) -> Longest:
        return Longest(answer=self.size)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        row = generator.choices(words.WORDS, k=self.size)
        return (String(row=drawn) for drawn in redrawn(row, words.WORDS, generator))
