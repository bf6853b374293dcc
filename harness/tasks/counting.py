"""Counting: words in a row, then a word and a number; does it occur more often than that?"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import comb
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_size, draw_until
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Counting:
    """`size` words of a small alphabet of each sample's own, so that words repeat.

    Of the word that is asked the context holds `count`; the number is `count` or `count - 1`.
    Prompt: `counting bab dok bab ; <direct> bab 1`, size + 5 tokens.
    """

    name: ClassVar[str] = "counting"
    summary: ClassVar[str] = "words, then a word and a number; 1 if it occurs more often, else 0"
    source: ClassVar[str] = "arXiv 2402.18510, section 4.2 (counting)"
    instruction: ClassVar[str] = (
        "The context is a sequence of words that ends with a semicolon. The question is a word "
        "and a number. Answer 1 if the word occurs in the context more often than the number "
        "says, else answer 0."
    )
    size_unit: ClassVar[str] = "words"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.REGEX,)
    impossible: ClassVar[Mapping[Mode, str]] = {
        Mode.DENSE: "the context has no passages to choose from, and likeness does not count"
    }
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size out of range."""
        check_size(self)

    @property
    def _alphabet(self) -> int:
        return max(2, self.size // 4)

    @property
    def chance(self) -> float:
        """Saying 1 up to the commonest count and 0 from there on: the number tells a little.

        Half of all answers are 1; the number alone, with counts of a binomial distribution, is
        right by half the share of the commonest count more often.
        """
        n, others = self.size, self._alphabet - 1
        ways: list[int] = [comb(n, count) * others ** (n - count) for count in range(1, n + 1)]
        return 0.5 + max(ways) / sum(ways) / 2

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        context, drawn = draw_until(split, lambda: self._draw(generator))
        counts = Counter(drawn)
        word = generator.choice(list(counts))
        sample = Sample(address=address, context=context, question="", target="")
        return _ask(sample, word, counts[word], is_more=generator.random() < 0.5)

    def _draw(self, generator: random.Random) -> tuple[str, list[str]]:
        alphabet = generator.sample(words.WORDS, self._alphabet)
        drawn = generator.choices(alphabet, k=self.size)
        return " ".join((self.name, *drawn, words.SEPARATOR)), drawn

    def siblings(self, sample: Sample) -> list[Sample]:
        """Every word with both numbers, in the order in which words first occur."""
        counts = Counter(sample.context.split()[1:-1])
        return [
            _ask(sample, word, count, is_more=is_more)
            for word, count in counts.items()
            for is_more in (True, False)
        ]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        thought = {Prompting.DIRECT: 0, Prompting.COT: 2 * self.size, Prompting.SEARCH: 8}
        return thought[prompting] + 3

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """CoT: the word after each occurrence, numbered. Search: so many occurrences, or FAILED.

        The pattern never leaves the context, for it reads over no separator: it captures the first.
        """
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        word, number = sample.question.split()
        if prompting is Prompting.COT:
            row = sample.context.split()
            after = [follower for one, follower in pairwise(row) if one == word]
            numbered = (f"{follower} {count}" for count, follower in enumerate(after, start=1))
            return worked.chain(" ".join(numbered), sample.target)
        pattern = rf"^(?:[^;]* {word}\b){{{int(number) + 1}}}[^;]* (;)"
        result = words.SEPARATOR if sample.target == "1" else words.FAILED
        return worked.query(pattern), worked.found(result), worked.answer(sample.target)


def _ask(sample: Sample, word: str, count: int, *, is_more: bool) -> Sample:
    """More than `count - 1` is true, more than `count` is not."""
    return replace(
        sample,
        question=f"{word} {count - 1 if is_more else count}",
        target="1" if is_more else "0",
        metadata={"count": count},
    )
