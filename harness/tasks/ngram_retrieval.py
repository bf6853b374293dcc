"""c-gram retrieval: words in a row, then c - 1 of them; the answer is the word that follows."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_parameter, check_size, draw_until
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramRetrieval:
    """`size` words of a small alphabet of each sample's own, so that single words repeat.

    The `order` - 1 words that are asked stand in the context once with a word after them.
    Prompt: `ngram_retrieval bab dok bab fem ; <direct> dok bab`, size + order + 2 tokens.
    """

    name: ClassVar[str] = "ngram_retrieval"
    summary: ClassVar[str] = "words in a row, then some of them; the answer is the word after them"
    source: ClassVar[str] = "arXiv 2402.18510, section 4.2 (c-gram retrieval; c is `order`)"
    instruction: ClassVar[str] = (
        "The context is a sequence of words that ends with a semicolon. The question is a few "
        "words that stand next to each other in it, in this order, at one place. Answer with the "
        "word that comes directly after them there."
    )
    size_unit: ClassVar[str] = "words"
    min_size: ClassVar[int] = 3
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.REGEX,)
    impossible: ClassVar[Mapping[Mode, str]] = {
        Mode.DENSE: "the context has no passages to choose from"
    }
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16
    # The words asked and the one that follows them, together.
    order: int = 3

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size or order out of range."""
        check_size(self)
        check_parameter(self, "order", 2, self.size)

    @property
    def _alphabet(self) -> int:
        return max(4, self.size // 4)

    @property
    def chance(self) -> float:
        """Naming any word of the sample's alphabet."""
        return 1 / min(self._alphabet, self.size)

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        places: list[int] = []
        while not places:
            context, drawn = draw_until(split, lambda: self._draw(generator))
            places = self._places(drawn)
        sample = Sample(address=address, context=context, question="", target="")
        return self._ask(sample, drawn, generator.choice(places))

    def _draw(self, generator: random.Random) -> tuple[str, list[str]]:
        alphabet = generator.sample(words.WORDS, self._alphabet)
        drawn = generator.choices(alphabet, k=self.size)
        return " ".join((self.name, *drawn, words.SEPARATOR)), drawn

    def _places(self, drawn: Sequence[str]) -> list[int]:
        """Where something begins that occurs once with a word after it."""
        length = self.order - 1
        grams = [tuple(drawn[i : i + length]) for i in range(self.size - length)]
        counts = Counter(grams)
        return [place for place, gram in enumerate(grams) if counts[gram] == 1]

    def _ask(self, sample: Sample, drawn: Sequence[str], place: int) -> Sample:
        end = place + self.order - 1
        return replace(
            sample,
            question=" ".join(drawn[place:end]),
            target=drawn[end],
            metadata={"position": place},
        )

    def siblings(self, sample: Sample) -> list[Sample]:
        """Everything that can be asked about the same words, in their order."""
        drawn = sample.context.split()[1:-1]
        return [self._ask(sample, drawn, place) for place in self._places(drawn)]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes."""
        thought = {Prompting.DIRECT: 0, Prompting.COT: self.order, Prompting.SEARCH: self.order + 2}
        return thought[prompting] + 3

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """CoT: the words with their follower. Search: the words, and capture what follows."""
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        if prompting is Prompting.COT:
            return worked.chain(f"{sample.question} {sample.target}", sample.target)
        return (
            worked.query(f"{sample.question} {words.CAPTURE_WORD}"),
            worked.found(sample.target),
            worked.answer(sample.target),
        )
