"""Parity: bits in a row; the answer is 1 if the number of ones is odd, else 0."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from operator import xor

from harnessapi.values import Mode

from harness.sample import Problem
from harness.tasks.problems import Row
from harness.tasks.task import Longest, Task
from harness.way import Prompting


@dataclass(frozen=True, kw_only=True, slots=True)
class Bits(Row):
    """`0` and `1`; there is one question about them."""

    @property
    def target(self) -> str:
        return str(self.row.count("1") % 2)

    def thought(self) -> str:
        """The parity of all bits so far, after each bit."""
        return " ".join(map(str, accumulate(map(int, self.row), xor)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity(Task):
    """`size` bits, each drawn by a fair coin.

    Prompt: `parity 0 1 1 ; <direct>`, size + 3 tokens.
    """

    name = "parity"
    summary = "bits in a row; 1 if the number of ones is odd, else 0"
    source = "Hahn, arXiv 1906.06755 (parity); Merrill et al., arXiv 2404.08819"
    instruction = (
        "The context is a sequence of bits that ends with a semicolon. Answer 1 if the number of "
        "ones among them is odd, else answer 0."
    )
    heading = "parity"
    few_targets = ("1", "0")
    size_unit = "bits"
    # Below, hardly any context would be left for each split.
    min_size = 4
    promptings = (Prompting.DIRECT, Prompting.COT)
    impossible = dict.fromkeys(
        Mode, "every bit counts: nothing has to be found, a bit has to be kept"
    )

    @property
    def chance(self) -> float:
        """Half of all rows are odd (in a split of few bits it may be a little more or less)."""
        return 0.5

    @property
    def longest(self) -> Longest:
        """A thought has a bit for each bit."""
        return Longest(thought=self.size)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        while True:
            yield Bits(row=generator.choices("01", k=self.size))
