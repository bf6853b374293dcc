"""Counting: words in a row, then a word and a number; does it occur more often than that?"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

from harnessapi.values import Mode

from harness.sample import Problem
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.guessing import mean_over_contexts
from harness.tasks.problems import Row
from harness.tasks.task import Longest, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Count(Row):
    """A word of the row, and whether the number asked is one less than its count, or the count."""

    word: str
    is_more: bool

    @property
    def _count(self) -> int:
        return self.row.count(self.word)

    @property
    def _number(self) -> int:
        return self._count - self.is_more

    @property
    def question(self) -> str:
        return f"{self.word} {self._number}"

    @property
    def target(self) -> str:
        return "1" if self.is_more else "0"

    @property
    def metadata(self) -> Mapping[str, str | int]:
        return {"count": self._count}

    def drawn_question(self, generator: random.Random, /) -> Problem:
        """Each word is as likely, and either number."""
        word = generator.choice(list(dict.fromkeys(self.row)))
        return replace(self, word=word, is_more=generator.random() < 0.5)

    def siblings(self) -> Sequence[Problem]:
        """Every word with both numbers, in the order in which words first occur."""
        return [
            replace(self, word=word, is_more=is_more)
            for word in dict.fromkeys(self.row)
            for is_more in (True, False)
        ]

    def false_twin(self, generator: random.Random, /) -> Problem:
        """The word occurs once less, or once more, in the place of another; the number stays."""
        is_one_more = not self.is_more
        places = [
            place for place, word in enumerate(self.row) if (word == self.word) != is_one_more
        ]
        if not places:  # The row has no other word.
            return replace(self, row=[*self.row, self.word], is_more=True)
        place = generator.choice(places)
        if not is_one_more:
            return replace(self.with_word(place, generator), is_more=False)
        row = [self.word if at == place else word for at, word in enumerate(self.row)]
        return replace(self, row=row, is_more=True)

    def thought(self) -> str:
        """The word after each occurrence, numbered."""
        neighbours = pairwise([*self.row, words.SEPARATOR])
        after = (follower for one, follower in neighbours if one == self.word)
        return " ".join(f"{follower} {count}" for count, follower in enumerate(after, start=1))

    def regex_searches(self) -> Iterator[Step]:
        """So many occurrences, or FAILED.

        The pattern never leaves the context, for it reads over no separator: it captures the first.
        """
        pattern = rf"^(?:[^;]* {self.word}\b){{{self._number + 1}}}[^;]* (;)"
        yield from lookup(pattern, words.SEPARATOR if self.is_more else words.FAILED)


@cache
def _chance(size: int, num_words: int) -> float:
    """Of each number, the commoner of the two answers that the counts of all words leave."""

    def worth(generator: random.Random) -> float:
        counts = Counter(generator.choices(range(num_words), k=size)).values()
        # By number, words of which it is one less than the count; words of which it is the count.
        more, just = Counter(count - 1 for count in counts), Counter(counts)
        return sum(max(more[n], just[n]) for n in more | just) / (2 * len(counts))

    return mean_over_contexts(worth)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counting(Task):
    """`size` words of a small alphabet of each sample's own, so that words repeat.

    Of the word that is asked the context holds `count`; the number is `count` or `count - 1`.
    Prompt: `counting bab dok bab ; <direct> bab 1`, size + 5 tokens.
    """

    name = "counting"
    summary = "words, then a word and a number; 1 if it occurs more often, else 0"
    source = "arXiv 2402.18510, section 4.2 (counting)"
    instruction = (
        "The context is a sequence of words that ends with a semicolon. The question is a word "
        "and a number. Answer 1 if the word occurs in the context more often than the number "
        "says, else answer 0."
    )
    heading = "counting"
    few_targets = ("1", "0")
    guess = (
        "how many words occur as often as the number says and once more often, without finding the "
        "word that is asked; the mean over 500 contexts"
    )
    size_unit = "words"
    retrieval_modes = (Mode.REGEX,)
    impossible = {
        Mode.DENSE: "the context has no passages to choose from, and likeness does not count"
    }

    @property
    def _alphabet(self) -> int:
        return max(2, self.size // 4)

    @property
    def chance(self) -> float:
        return _chance(self.size, self._alphabet)

    @property
    def num_distinct(self) -> int | None:
        """A word, and 0 or 1."""
        return 2 * len(words.WORDS) if self.size == 1 else None

    @property
    def longest(self) -> Longest:
        """A thought has at most a pair for each word of the row."""
        return Longest(thought=2 * self.size, searches={Mode.REGEX: 8})

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        while True:
            alphabet = generator.sample(words.WORDS, self._alphabet)
            row = generator.choices(alphabet, k=self.size)
            yield Count(row=row, word=row[0], is_more=True)
