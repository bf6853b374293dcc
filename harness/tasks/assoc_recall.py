"""Associative recall: pairs of a key and a value, then a key; the answer is its value."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import perm

from harnessapi.values import Mode

from harness.sample import Problem
from harness.tasks import vocabulary as words
from harness.tasks.drawing import redrawn
from harness.tasks.guessing import commonest
from harness.tasks.parameters import parameter
from harness.tasks.problems import Pairs
from harness.tasks.task import Longest, Task

# Below, hardly any context of size 1 would be left for each split.
_MIN_ALPHABET = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class OneOfPairs(Pairs):
    """Pairs of which one is asked."""

    @property
    def metadata(self) -> Mapping[str, str | int]:
        return {"position": self.asked[0]}

    def siblings(self) -> Sequence[Problem]:
        """Every key, in the order of the pairs."""
        return [replace(self, asked=(place,)) for place in range(len(self.keys))]


@dataclass(frozen=True, kw_only=True, slots=True)
class AssocRecall(Task):
    """`size` pairs with distinct keys; values are drawn with replacement.

    Prompt: `assoc_recall ; bab dok ; fem gik ; <direct> fem`, 3 * size + 4 tokens.
    """

    name = "assoc_recall"
    summary = "pairs of a key and a value, then a key; the answer is its value"
    source = "arXiv 2402.18510, section 4.2 (AR); keys and values disjoint as in MQAR"
    instruction = (
        "The context is a list of pairs, each a key and its value, and after each pair a "
        "semicolon. The question is one of the keys. Answer with its value."
    )
    heading = "assoc_recall ;"
    guess = "the commonest value of the context; computed"
    size_unit = "key-value pairs"
    max_size = len(words.KEYS)
    retrieval_modes = (Mode.DENSE, Mode.REGEX)

    alphabet: int = parameter(
        len(words.KEYS),
        "Keys and values are drawn from the first so many words of each kind; training starts "
        "small.",
        lambda size: range(max(size, _MIN_ALPHABET), len(words.KEYS) + 1),
    )

    @property
    def chance(self) -> float:
        return commonest(self.size, self.alphabet)

    @property
    def num_distinct(self) -> int | None:
        keys, values = perm(self.alphabet, self.size), int(self.alphabet**self.size)
        return keys * values * self.size

    @property
    def longest(self) -> Longest:
        """A thought is a pair."""
        return Longest(thought=2, searches={Mode.DENSE: 3, Mode.REGEX: 4})

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Keys, values and the place asked; then other values."""
        keys = generator.sample(words.KEYS[: self.alphabet], self.size)
        value_words = words.VALUES[: self.alphabet]
        values = generator.choices(value_words, k=self.size)
        asked = (generator.randrange(self.size),)
        for row in redrawn(values, value_words, generator):
            yield OneOfPairs(keys=keys, values=row, asked=asked)
