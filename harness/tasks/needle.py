"""Needles among filler: values are hidden under keys; then a key; the answer is all its values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import ClassVar, Final

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_parameter, check_size, settle
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode

_PASSAGE_WORDS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Needle:
    """`size` passages of filler, and among them `keys` * `values` needles at random places.

    A key has `values` needles, a value each, none of them another's. Filler is drawn from the words
    that are no key and no value of the sample. Prompt: `needle ; kas bod tem ; fem = gik ; <direct>
    fem`, 4 * (size + keys * values) + 4 tokens.
    """

    name: ClassVar[str] = "needle"
    summary: ClassVar[str] = "values hidden among filler, then a key; the answer is all its values"
    source: ClassVar[str] = "RULER (multi-key and multi-value needles), arXiv 2404.06654"
    instruction: ClassVar[str] = (
        "The context is a list of passages of three words, and after each passage a semicolon. "
        "Most passages mean nothing. Some are of the form `key = value`; a key may have several "
        "values, in passages of their own. The question is a key. Answer with all its values, in "
        "the order in which they stand in the context."
    )
    size_unit: ClassVar[str] = "passages of filler"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.REGEX,)
    impossible: ClassVar[Mapping[Mode, str]] = {
        Mode.DENSE: "the needles of a key are all as like it, and there is no way to ask for the "
        "next one, or whether there is one"
    }
    # The needles stand before the last separator; queries, which look like needles, after it.
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = (
        # The first value of a key.
        Abbreviation(query="$1 =", pattern=r"\b$1 = (\S+) ;"),
        # Its next value after another.
        Abbreviation(query="$1 = $2", pattern=r"\b$1 = $2 ;.*?\b$1 = (\S+) ;"),
    )

    size: int = 16
    # Keys that have needles; one is asked.
    keys: int = 4
    # Values of each key, each in a needle of its own.
    values: int = 2

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size or a number of keys or values out of range."""
        check_size(self)
        check_parameter(self, "keys", 1, 32)
        check_parameter(self, "values", 1, 4)

    @property
    def chance(self) -> float:
        """Naming as many values of the needles, in their order."""
        return 1 / comb(self.keys * self.values, self.values)

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        keys = generator.sample(words.KEYS, self.keys)
        values = generator.sample(words.VALUES, self.keys * self.values)
        hidden = generator.sample([*keys] * self.values, len(values))
        needles = [f"{key} = {value}" for key, value in zip(hidden, values, strict=True)]
        places = generator.sample(range(self.size + len(needles)), len(needles))
        taken = {*keys, *values}
        filler_words = [word for word in words.WORDS if word not in taken]
        filler = generator.choices(filler_words, k=_PASSAGE_WORDS * self.size)
        context = settle(
            split,
            generator,
            filler,
            filler_words,
            lambda drawn: self._context(drawn, dict(zip(places, needles, strict=True))),
        )
        sample = Sample(address=address, context=context, question="", target="")
        return _ask(sample, generator.choice(keys))

    def _context(self, filler: Sequence[str], needles: Mapping[int, str]) -> str:
        rest = iter(filler)
        chunks = zip(rest, rest, rest, strict=True)
        passages = (
            needles.get(place) or " ".join(next(chunks))
            for place in range(self.size + len(needles))
        )
        return " ; ".join((self.name, *passages)) + " ;"

    def siblings(self, sample: Sample) -> list[Sample]:
        """Every key, in the order in which they first occur."""
        return [_ask(sample, key) for key in dict.fromkeys(key for key, _ in _needles(sample))]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:  # noqa: ARG002
        """Tokens that the longest worked completion takes: the first query is one word shorter."""
        searches = 5 * (self.values + 1) - 1
        thought = {Prompting.DIRECT: 0, Prompting.COT: 3 * self.values, Prompting.SEARCH: searches}
        return thought[prompting] + self.values + 2

    def demonstration(
        self,
        sample: Sample,
        prompting: Prompting,
        mode: Mode | None,  # noqa: ARG002
    ) -> tuple[Segment, ...]:
        """CoT: the needles of the key. Search: value after value, until there is none left."""
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        if prompting is Prompting.COT:
            needles = (f"{sample.question} = {value}" for value in sample.target.split())
            return worked.chain(" ".join(needles), sample.target)
        return (*_searches(sample), worked.answer(sample.target))


def _searches(sample: Sample) -> Iterator[Segment]:
    query = f"{sample.question} ="
    for value in sample.target.split():
        yield worked.query(query)
        yield worked.found(value)
        query = f"{sample.question} = {value}"
    yield worked.query(query)
    yield worked.found(words.FAILED)


def _needles(sample: Sample) -> list[tuple[str, str]]:
    """Key and value of every needle, in the order of the context."""
    passages = (passage.split() for passage in sample.context.split(" ;"))
    return [(row[0], row[2]) for row in passages if len(row) == _PASSAGE_WORDS and row[1] == "="]


def _ask(sample: Sample, key: str) -> Sample:
    values = [value for of, value in _needles(sample) if of == key]
    return replace(sample, question=key, target=" ".join(values), metadata={})
