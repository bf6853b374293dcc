"""Multi-query associative recall: pairs of a key and a value, then keys; all values in order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_parameter, check_size, settle, shifts
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class Mqar:
    """`size` pairs with distinct keys, of which `queries` are asked at once, in random order.

    No filler stands between pairs or questions, so none can equal a key.
    Prompt: `mqar ; bab dok ; fem gik ; <direct> fem bab`, 3 * size + 3 + queries tokens.
    """

    name: ClassVar[str] = "mqar"
    summary: ClassVar[str] = "pairs of a key and a value, then keys; the answer is all their values"
    source: ClassVar[str] = "Arora et al., Zoology (MQAR), arXiv 2312.04927"
    instruction: ClassVar[str] = (
        "The context is a list of pairs, each a key and its value, and after each pair a "
        "semicolon. The question is a list of keys. Answer with their values, in the order in "
        "which the keys are asked."
    )
    size_unit: ClassVar[str] = "key-value pairs"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = len(words.KEYS)
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.DENSE, Mode.REGEX)
    impossible: ClassVar[Mapping[Mode, str]] = {}
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16
    # Keys that are asked at once; 0: every key of the context, as in the source.
    queries: int = 0

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size or a number of queries out of range."""
        check_size(self)
        check_parameter(self, "queries", 0, self.size)

    @property
    def _num_queries(self) -> int:
        return self.queries or self.size

    @property
    def chance(self) -> float:
        """Naming any value that stands in the prompt, for each key."""
        return float(self.size) ** -self._num_queries

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        keys = generator.sample(words.KEYS, self.size)
        values = generator.choices(words.VALUES, k=self.size)
        asked = generator.sample(range(self.size), self._num_queries)
        context = settle(
            split, generator, values, words.VALUES, lambda drawn: self._context(keys, drawn)
        )
        sample = Sample(address=address, context=context, question="", target="")
        return _ask(sample, keys, values, asked)

    def _context(self, keys: Sequence[str], values: Sequence[str]) -> str:
        pairs = (f"{key} {value}" for key, value in zip(keys, values, strict=True))
        return " ; ".join((self.name, *pairs)) + " ;"

    def siblings(self, sample: Sample) -> list[Sample]:
        """As many questions as pairs: the positions asked, moved on by one at a time."""
        pieces = sample.context.split()[2:]
        keys, values = pieces[0::3], pieces[1::3]
        asked = [keys.index(key) for key in sample.question.split()]
        return [_ask(sample, keys, values, moved) for moved in shifts(asked, self.size)]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:
        """Tokens that the longest worked completion takes."""
        query = 4 if mode is Mode.REGEX else 3
        thought = {Prompting.DIRECT: 0, Prompting.COT: 2, Prompting.SEARCH: query}
        return (thought[prompting] + 1) * self._num_queries + 2

    def demonstration(
        self, sample: Sample, prompting: Prompting, mode: Mode | None
    ) -> tuple[Segment, ...]:
        """Direct: the values. CoT: the pairs first. Search: key after key, then the values."""
        asked = list(zip(sample.question.split(), sample.target.split(), strict=True))
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        if prompting is Prompting.COT:
            return worked.chain(" ".join(f"{key} {value}" for key, value in asked), sample.target)
        return (*_searches(asked, mode), worked.answer(sample.target))


def _searches(asked: Sequence[tuple[str, str]], mode: Mode | None) -> Iterator[Segment]:
    """A regular expression returns the word after a key, a dense search the whole pair."""
    for key, value in asked:
        is_regex = mode is Mode.REGEX
        yield worked.query(f"{key} {words.CAPTURE_WORD}" if is_regex else key)
        yield worked.found(value if is_regex else f"{key} {value}")


def _ask(
    sample: Sample, keys: Sequence[str], values: Sequence[str], asked: Sequence[int]
) -> Sample:
    return replace(
        sample,
        question=" ".join(keys[position] for position in asked),
        target=" ".join(values[position] for position in asked),
        metadata={"positions": " ".join(str(position) for position in asked)},
    )
