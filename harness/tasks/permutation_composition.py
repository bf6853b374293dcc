"""Permutation composition: permutations of five items; the answer is what their product does."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from harnessapi.values import Mode

from harness.sample import Problem
from harness.scoring.wording import Wording
from harness.tasks.drawing import passages, redrawn
from harness.tasks.task import Longest, Task
from harness.way import Prompting

Permutation = tuple[int, ...]

_ITEMS: Final[Permutation] = (1, 2, 3, 4, 5)
_TEXTS: Final = {order: " ".join(map(str, order)) for order in permutations(_ITEMS)}
_PERMUTATIONS: Final = tuple(_TEXTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Product(Problem):
    """Permutations in a row; there is one question about them."""

    factors: Sequence[Permutation]

    @property
    def text(self) -> str:
        return passages(_TEXTS[factor] for factor in self.factors)

    @property
    def target(self) -> str:
        *_, last = self._orders()
        return _TEXTS[last]

    def thought(self) -> str:
        """The order after each permutation."""
        return " > ".join(_TEXTS[order] for order in self._orders())

    def _orders(self) -> Iterator[Permutation]:
        order = _ITEMS
        for factor in self.factors:
            order = tuple(order[place - 1] for place in factor)
            yield order


@dataclass(frozen=True, kw_only=True, slots=True)
class PermutationComposition(Task):
    """`size` permutations in a row, of the 120 of five items, each as likely.

    A permutation lists which place each item is taken from: `2 1 3 5 4` makes `b a c e d` of
    `a b c d e`. Prompt: `permutation_composition ; 2 1 3 5 4 ; 3 1 2 4 5 ; <direct>`, 6 * size + 3
    tokens.
    """

    name = "permutation_composition"
    summary = "permutations of five items; the answer is what they do in a row"
    source = "the word problem of S5: Merrill et al., arXiv 2404.08819"
    instruction = (
        "The context is a list of permutations of five items, and after each one a semicolon. "
        "Start from 1 2 3 4 5 and apply them from left to right. A permutation says for each "
        "place, from left to right, from which place of the row before its item is taken: "
        "2 1 3 5 4 makes 3 1 2 5 4 of 1 3 2 4 5. Answer with the row at the end."
    )
    heading = "permutation_composition ;"
    wording = Wording(is_list=True, num_digits=len(_ITEMS))
    notation = {"2 1 3 5 4 > 3 2 1 4 5": "a row, and the row that the next permutation makes of it"}
    guess = "any permutation, of one alone itself; computed"
    size_unit = "permutations"
    promptings = (Prompting.DIRECT, Prompting.COT)
    impossible = dict.fromkeys(
        Mode,
        "every permutation counts, in its order: nothing has to be found, a state has to be kept",
    )

    @property
    def chance(self) -> float:
        """Without the last one, all products are as likely."""
        return 1.0 if self.size == 1 else 1 / len(_PERMUTATIONS)

    @property
    def num_distinct(self) -> int | None:
        return int(len(_PERMUTATIONS) ** self.size)

    @property
    def longest(self) -> Longest:
        """A thought has an order for each permutation, and `>` between them."""
        return Longest(answer=len(_ITEMS), thought=(len(_ITEMS) + 1) * self.size - 1)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        factors = generator.choices(_PERMUTATIONS, k=self.size)
        return (Product(factors=drawn) for drawn in redrawn(factors, _PERMUTATIONS, generator))
