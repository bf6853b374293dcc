"""Needles among filler: values are hidden under keys; then a key; the answer is all its values."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Final, NamedTuple

from harnessapi.values import Mode

from harness.sample import Problem
from harness.scoring.wording import Wording
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.drawing import depth, passages, redrawn
from harness.tasks.parameters import parameter
from harness.tasks.task import Longest, Task
from harness_retrieval.abbreviations import Abbreviation

_PASSAGE_WORDS: Final = 3


class Hidden(NamedTuple):
    """A needle; `place` counts passages from 0."""

    place: int
    key: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Haystack(Problem):
    """Filler, needles in the order of their places, and the key that is asked."""

    filler: Sequence[str]
    needles: Sequence[Hidden]
    # In the order in which they were drawn.
    keys: Sequence[str]
    key: str

    @property
    def text(self) -> str:
        """Every three words of filler are a passage, every needle is one."""
        rest = iter(self.filler)
        texts = list(map(" ".join, zip(rest, rest, rest, strict=True)))
        for place, key, value in self.needles:
            texts.insert(place, f"{key} = {value}")
        return passages(texts)

    @property
    def question(self) -> str:
        return self.key

    @property
    def _values(self) -> list[str]:
        return [needle.value for needle in self.needles if needle.key == self.key]

    @property
    def target(self) -> str:
        return " ".join(self._values)

    @property
    def depths(self) -> Sequence[float]:
        num_passages = len(self.filler) // _PASSAGE_WORDS + len(self.needles)
        return [depth(one.place, num_passages) for one in self.needles if one.key == self.key]

    def drawn_question(self, generator: random.Random, /) -> Problem:
        """Each key is as likely."""
        return replace(self, key=generator.choice(self.keys))

    def siblings(self) -> Sequence[Problem]:
        """Every key, in the order in which they first occur."""
        return [replace(self, key=key) for key in dict.fromkeys(n.key for n in self.needles)]

    def false_twin(self, generator: random.Random, /) -> Problem:
        """The key has values of other keys; with too few of them, any that are not here."""
        num = len(self._values)
        taken = {needle.value for needle in self.needles}
        others = [needle.value for needle in self.needles if needle.key != self.key]
        if len(others) < num:
            others = [word for word in words.VALUES if word not in taken]
        values = iter(generator.sample(others, num))
        needles = [
            needle._replace(value=next(values)) if needle.key == self.key else needle
            for needle in self.needles
        ]
        return replace(self, needles=needles)

    def thought(self) -> str:
        """The needles of the key."""
        return " ".join(f"{self.key} = {value}" for value in self._values)

    def regex_searches(self) -> Iterator[Step]:
        """Value after value, until there is none left."""
        query = f"{self.key} ="
        for value in self._values:
            yield from lookup(query, value)
            query = f"{self.key} = {value}"
        yield from lookup(query, words.FAILED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Needle(Task):
    """`size` passages of filler, and among them `keys` * `values` needles at random places.

    A key has `values` needles, a value each, none of them another's. Filler is drawn from the words
    that are no key and no value of the sample. Prompt: `needle ; kas bod tem ; fem = gik ; <direct>
    fem`, 4 * (size + keys * values) + 4 tokens.
    """

    name = "needle"
    summary = "values hidden among filler, then a key; the answer is all its values"
    source = "RULER (multi-key and multi-value needles), arXiv 2404.06654"
    instruction = (
        "The context is a list of passages of three words, and after each passage a semicolon. "
        "Most passages mean nothing. Some are of the form `key = value`; a key may have several "
        "values, in passages of their own. The question is a key. Answer with all its values, in "
        "the order in which they stand in the context."
    )
    heading = "needle ;"
    wording = Wording(is_list=True)
    guess = "as many values of the needles, in their order; computed"
    size_unit = "passages of filler"
    retrieval_modes = (Mode.REGEX,)
    impossible = {
        Mode.DENSE: "the needles of a key are all as like it, and there is no way to ask for the "
        "next one, or whether there is one"
    }
    # The needles stand before the last separator; queries, which look like needles, after it.
    abbreviations = (
        # The first value of a key.
        Abbreviation(query="$1 =", pattern=r"\b$1 = (\S+) ;"),
        # Its next value after another.
        Abbreviation(query="$1 = $2", pattern=r"\b$1 = $2 ;.*?\b$1 = (\S+) ;"),
    )

    keys: int = parameter(4, "Keys that have needles; one is asked.", lambda _: range(1, 33))
    values: int = parameter(
        2, "Values of each key, each in a needle of its own.", lambda _: range(1, 5)
    )

    @property
    def chance(self) -> float:
        return 1 / comb(self.keys * self.values, self.values)

    @property
    def longest(self) -> Longest:
        """A search for each value and one in vain; the first query is one word shorter."""
        searches = {Mode.REGEX: 5 * (self.values + 1) - 1}
        return Longest(answer=self.values, thought=3 * self.values, searches=searches)

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Needles and filler; then other filler."""
        keys = generator.sample(words.KEYS, self.keys)
        values = generator.sample(words.VALUES, self.keys * self.values)
        hidden = generator.sample([*keys] * self.values, len(values))
        places = generator.sample(range(self.size + len(values)), len(values))
        needles = sorted(map(Hidden, places, hidden, values))
        taken = {*keys, *values}
        filler_words = [word for word in words.WORDS if word not in taken]
        filler = generator.choices(filler_words, k=_PASSAGE_WORDS * self.size)
        for row in redrawn(filler, filler_words, generator):
            yield Haystack(filler=row, needles=needles, keys=keys, key=keys[0])
