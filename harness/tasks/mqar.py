"""Multi-query associative recall: pairs of a key and a value, then keys; all values in order."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from harnessapi.values import Mode

from harness.sample import Problem
from harness.scoring.wording import Wording
from harness.tasks import vocabulary as words
from harness.tasks.drawing import redrawn
from harness.tasks.guessing import in_a_row
from harness.tasks.parameters import parameter
from harness.tasks.problems import Pairs
from harness.tasks.task import Longest, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Mqar(Task):
    """`size` pairs with distinct keys, of which `queries` are asked at once, in random order.

    No filler stands between pairs or questions, so none can equal a key.
    Prompt: `mqar ; bab dok ; fem gik ; <direct> fem bab`, 3 * size + 3 + queries tokens.
    """

    name = "mqar"
    summary = "pairs of a key and a value, then keys; the answer is all their values"
    source = "Arora et al., Zoology (MQAR), arXiv 2312.04927"
    instruction = (
        "The context is a list of pairs, each a key and its value, and after each pair a "
        "semicolon. The question is a list of keys. Answer with their values, in the order in "
        "which the keys are asked."
    )
    heading = "mqar ;"
    wording = Wording(is_list=True)
    guess = (
        "the commonest values of the context, each as often as it can be asked; computed, for "
        "some but not all keys the mean over 500 contexts"
    )
    size_unit = "key-value pairs"
    max_size = len(words.KEYS)
    retrieval_modes = (Mode.DENSE, Mode.REGEX)

    queries: int = parameter(
        0,
        "Keys that are asked at once; 0: every key of the context, as in the source.",
        lambda size: range(size + 1),
    )

    @property
    def _num_queries(self) -> int:
        return self.queries or self.size

    @property
    def chance(self) -> float:
        return in_a_row(self.size, len(words.VALUES), self._num_queries)

    @property
    def longest(self) -> Longest:
        """As of a pair, for each query."""
        number = self._num_queries
        searches = {Mode.DENSE: 3 * number, Mode.REGEX: 4 * number}
        return Longest(answer=number, thought=2 * number, searches=searches)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Keys, values and the places asked; then other values."""
        keys = generator.sample(words.KEYS, self.size)
        values = generator.choices(words.VALUES, k=self.size)
        asked = generator.sample(range(self.size), self._num_queries)
        for row in redrawn(values, words.VALUES, generator):
            yield Pairs(keys=keys, values=row, asked=asked)
