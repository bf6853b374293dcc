"""Problems that more than one task draws: keys with values, words in a row, numbered words."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from harness.sample import Problem
from harness.steps import Found, Query, Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.drawing import another, depth, passages, row_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs(Problem):
    """Keys with a value each, and the places of those that are asked, counted from 0."""

    # Between a key and its value.
    joint: ClassVar[str] = " "
    # What a value may be.
    alphabet: ClassVar[Sequence[str]] = words.VALUES

    keys: Sequence[str]
    values: Sequence[str]
    asked: Sequence[int]

    @property
    def text(self) -> str:
        return passages(map(self.joint.join, zip(self.keys, self.values, strict=True)))

    @property
    def question(self) -> str:
        return " ".join(self.keys[place] for place in self.asked)

    @property
    def target(self) -> str:
        return " ".join(self.values[place] for place in self.asked)

    @property
    def metadata(self) -> Mapping[str, str | int]:
        return {"positions": " ".join(map(str, self.asked))}

    @property
    def depths(self) -> Sequence[float]:
        return [depth(place, len(self.keys)) for place in self.asked]

    def siblings(self) -> Sequence[Problem]:
        """The places asked, and the same moved on by one, two, ...: each is asked as often."""
        num_places = len(self.keys)
        return [
            replace(self, asked=[(place + step) % num_places for place in self.asked])
            for step in range(num_places)
        ]

    def false_twin(self, generator: random.Random, /) -> Problem:
        """Each key that is asked has another value of the context."""
        values = list(self.values)
        for place in self.asked:
            values[place] = another(self.values[place], self.values, self.alphabet, generator)
        return replace(self, values=values)

    def pair(self, place: int) -> str:
        """A key with its value, as it stands in the context."""
        return f"{self.keys[place]}{self.joint}{self.values[place]}"

    def thought(self) -> str:
        """The pairs that are asked."""
        return " ".join(map(self.pair, self.asked))

    def regex_searches(self) -> Iterator[Step]:
        """Key after key: the word after it."""
        for place in self.asked:
            yield from lookup(f"{self.keys[place]} {words.CAPTURE_WORD}", self.values[place])

    def dense_searches(self) -> Iterator[Step]:
        """Key after key: the whole pair."""
        for place in self.asked:
            yield from lookup(self.keys[place], self.pair(place))


@dataclass(frozen=True, kw_only=True, slots=True)
class Row(Problem):
    """Words in a row."""

    row: Sequence[str]

    @property
    def text(self) -> str:
        return row_text(self.row)

    def with_word(self, place: int, generator: random.Random) -> Self:
        """Another word of the row in the place of one."""
        row = list(self.row)
        row[place] = another(row[place], row, words.WORDS, generator)
        return replace(self, row=row)


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberedWords(Row):
    """One of the words is asked; `place` counts from 0, texts count from 1."""

    place: int

    @property
    def text(self) -> str:
        return passages(self.row)

    @property
    def metadata(self) -> Mapping[str, str | int]:
        return {"position": self.place}

    @property
    def depths(self) -> Sequence[float]:
        return (depth(self.place, len(self.row)),)

    def siblings(self) -> Sequence[Problem]:
        """Every place, from the first to the last."""
        return [replace(self, place=place) for place in range(len(self.row))]

    def thought(self) -> str:
        """A numbered copy up to the place."""
        copied = enumerate(self.row[: self.place + 1], start=1)
        return " ".join(f"{number} {word}" for number, word in copied)

    def dense_searches(self) -> Iterator[Step]:
        """Can only give the question back; the right answer follows nevertheless."""
        yield Query(text=self.question)
        yield Found(text=self.question, is_question=True)
