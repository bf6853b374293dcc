"""c-gram retrieval: words in a row, then c - 1 of them; the answer is the word that follows."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.sample import Problem
from harness.steps import Step, lookup
from harness.tasks import vocabulary as words
from harness.tasks.drawing import row_text
from harness.tasks.parameters import parameter
from harness.tasks.task import Longest, Task
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Follower(Problem):
    """Words in a row, of which the `num_asked` from `place` on are asked.

    `places` are those that can be asked: what begins there occurs once with a word after it.
    """

    row: Sequence[str]
    num_asked: int
    places: Sequence[int]
    place: int

    @property
    def text(self) -> str:
        """The row, and an end."""
        return row_text(self.row)

    @property
    def question(self) -> str:
        """The words before the one that is wanted."""
        return " ".join(self.row[self.place : self.place + self.num_asked])

    @property
    def target(self) -> str:
        """The word after them."""
        return self.row[self.place + self.num_asked]

    @property
    def metadata(self) -> Mapping[str, str | int]:
        """The place, counted from 0."""
        return {"position": self.place}

    def drawn_question(self, generator: random.Random, /) -> Problem:
        """Each place is as likely."""
        return replace(self, place=generator.choice(self.places))

    def siblings(self) -> Sequence[Problem]:
        """Everything that can be asked about the same words, in their order."""
        return [replace(self, place=place) for place in self.places]

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
        """Naming any word of the sample's alphabet."""
        return 1 / min(self._alphabet, self.size)

    @property
    def longest(self) -> Longest:
        """A thought is what is asked with its answer."""
        return Longest(thought=self.order, searches={Mode.REGEX: self.order + 2})

    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Rows, each of an alphabet of its own, in which something can be asked."""
        num_asked = self.order - 1
        while True:
            alphabet = generator.sample(words.WORDS, self._alphabet)
            row = generator.choices(alphabet, k=self.size)
            places = _places(row, num_asked)
            if places:
                yield Follower(row=row, num_asked=num_asked, places=places, place=places[0])


def _places(row: Sequence[str], num_asked: int) -> list[int]:
    """Where something begins that occurs once with a word after it."""
    shifted = (row[start : start + len(row) - num_asked] for start in range(num_asked))
    grams = list(zip(*shifted, strict=True))
    counts = Counter(grams)
    return [place for place, gram in enumerate(grams) if counts[gram] == 1]
