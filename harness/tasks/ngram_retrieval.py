"""c-gram retrieval: words in a row, then c - 1 of them; the answer is the word that follows."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Final

from harnessapi.values import Mode

from harness.sample import Problem
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.drawing import depth
from harness.tasks.guessing import mean_over_contexts
from harness.tasks.parameters import parameter
from harness.tasks.problems import Row
from harness.tasks.task import Longest, Task

# By size, at the default order: what classifiers reach on counts and places of words that also
# know which of them are asked, of two seeds the larger (docs/chance.md). Of larger contexts it is
# less than the guesses.
_MEASURED: Final = {
    4: 0.854,
    5: 0.848,
    6: 0.728,
    7: 0.711,
    8: 0.648,
    9: 0.613,
    10: 0.602,
    11: 0.580,
    12: 0.548,
}
_DIFFERENT: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Follower(Row):
    """The `num_asked` words from `place` on are asked."""

    num_asked: int
    place: int

    @property
    def question(self) -> str:
        return " ".join(self.row[self.place : self.place + self.num_asked])

    @property
    def target(self) -> str:
        return self.row[self.place + self.num_asked]

    @property
    def metadata(self) -> Mapping[str, str | int]:
        return {"position": self.place}

    @property
    def depths(self) -> Sequence[float]:
        return (depth(self.place + self.num_asked, len(self.row)),)

    def places(self) -> list[int]:
        """Where something begins that occurs once with a word after it."""
        last = len(self.row) - self.num_asked
        shifted = (self.row[start : start + last] for start in range(self.num_asked))
        grams = list(zip(*shifted, strict=True))
        counts = Counter(grams)
        return [place for place, gram in enumerate(grams) if counts[gram] == 1]

    def drawn_question(self, generator: random.Random, /) -> Problem | None:
        """Each place is as likely; there may be none."""
        places = self.places()
        return replace(self, place=generator.choice(places)) if places else None

    def siblings(self) -> Sequence[Problem]:
        """Everything that can be asked about the same words, in their order."""
        return [replace(self, place=place) for place in self.places()]

    def false_twin(self, generator: random.Random, /) -> Problem:
        """Another word follows. Those asked may occur once more then, behind that place."""
        return self.with_word(self.place + self.num_asked, generator)

    def thought(self) -> str:
        """The words with their follower."""
        return f"{self.question} {self.target}"

    def regex_searches(self) -> Iterator[Step]:
        """The words, and capture what follows."""
        yield from lookup(f"{self.question} {words.CAPTURE_WORD}", self.target)


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramRetrieval(Task):
    """`size` words of a small alphabet of each sample's own, so that single words repeat.

    The `order` - 1 words that are asked stand in the context once with a word after them.
    Prompt: `ngram_retrieval bab dok bab fem ; <direct> dok bab`, size + order + 2 tokens.
    """

    name = "ngram_retrieval"
    summary = "words in a row, then some of them; the answer is the word after them"
    source = "arXiv 2402.18510, section 4.2 (c-gram retrieval; c is `order`)"
    instruction = (
        "The context is a sequence of words that ends with a semicolon. The question is a few "
        "words that stand next to each other in it, in this order, at one place. Answer with the "
        "word that comes directly after them there."
    )
    heading = "ngram_retrieval"
    guess = (
        "the word that most often follows what can be asked; the mean over 500 contexts, up to 12 "
        "words at the default order measured with classifiers"
    )
    size_unit = "words"
    min_size = 3
    retrieval_modes = (Mode.REGEX,)
    impossible = {Mode.DENSE: "the context has no passages to choose from"}

    order: int = parameter(
        3,
        "The words asked and the one that follows them, together.",
        lambda size: range(2, size + 1),
    )

    @property
    def _alphabet(self) -> int:
        return max(4, self.size // 4)

    @property
    def chance(self) -> float:
        return _chance(self)

    @property
    def longest(self) -> Longest:
        """A thought is what is asked with its answer."""
        return Longest(thought=self.order, searches={Mode.REGEX: self.order + 2})

    def draws(self, generator: random.Random) -> Iterator[Follower]:
        while True:
            alphabet = generator.sample(words.WORDS, self._alphabet)
            row = generator.choices(alphabet, k=self.size)
            yield Follower(row=row, num_asked=self.order - 1, place=0)


@cache
def _chance(task: NgramRetrieval) -> float:
    """Of two guesses that do not find what is asked the better, and what was measured."""
    # Of larger contexts the second comes to the same, within 0.002.
    but_asked = (False, True) if task.size <= _DIFFERENT else (False,)
    best = max(mean_over_contexts(partial(_worth, task, one)) for one in but_asked)
    is_default = task == NgramRetrieval(size=task.size)
    return max(best, _MEASURED.get(task.size, 0.0)) if is_default else best


def _worth(task: NgramRetrieval, but_asked: bool, generator: random.Random, /) -> float:
    """Naming the word that most often follows what can be asked; words that are as common share.

    `but_asked`: a word of the question counts less often by as much.
    """
    num_asked = task.order - 1
    places: list[int] = []
    while not places:
        drawn = next(task.draws(generator))
        row, places = drawn.row, drawn.places()
    counts = Counter(row[place + num_asked] for place in places)
    if not but_asked:
        return max(counts.values()) / len(places)
    worth = 0.0
    for place in places:
        left = counts - Counter(row[place : place + num_asked])
        most = max(left.values(), default=0)
        if left[row[place + num_asked]] == most > 0:
            worth += 1 / sum(count == most for count in left.values())
    return worth / len(places)
