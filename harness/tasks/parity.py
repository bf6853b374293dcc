"""Parity: bits in a row; the answer is 1 if the number of ones is odd, else 0."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, product
from operator import xor
from typing import Final

from harnessapi.values import Mode

from harness.sample import Problem, Split
from harness.tasks.problems import Row
from harness.tasks.task import Longest, Task
from harness.way import Prompting

# Up to here all rows are listed: of more, both splits have half of either parity.
_LISTED: Final = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Bits(Row):
    """`0` and `1`; there is one question about them."""

    @property
    def target(self) -> str:
        return str(self.row.count("1") % 2)

    def thought(self) -> str:
        """The parity of all bits so far, after each bit."""
        return " ".join(map(str, accumulate(map(int, self.row), xor)))


@cache
def _larger_share(size: int) -> float:
    """Of the test split, rows with the commoner parity."""
    rows = (Bits(row=row) for row in product("01", repeat=size))
    test = (row for row in rows if Split.of(f"{Parity.heading} {row.text}") is Split.TEST)
    counts = Counter(row.target for row in test)
    return max(counts.values()) / counts.total()


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
    guess = "either, as long as the ones are not counted, which is the task; computed"
    size_unit = "bits"
    # Below, hardly any context would be left for each split.
    min_size = 4
    promptings = (Prompting.DIRECT, Prompting.COT)
    impossible = dict.fromkeys(
        Mode, "every bit counts: nothing has to be found, a bit has to be kept"
    )

    @property
    def chance(self) -> float:
        """Half of all rows are odd; unbalanced, as many as there are of a split of few."""
        if self.balanced or self.size > _LISTED:
            return 0.5
        return _larger_share(self.size)

    @property
    def num_distinct(self) -> int | None:
        return int(2**self.size)

    @property
    def longest(self) -> Longest:
        """A thought has a bit for each bit."""
        return Longest(thought=self.size)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        while True:
            yield Bits(row=generator.choices("01", k=self.size))
