"""Associative recall: pairs of a key and a value, then a key; the answer is its value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from harness.sample import Prompting, Sample, Segment, Split, Style
from harness.tasks import vocabulary as words
from harness.tasks import worked
from harness.tasks.drawing import address_of, check_parameter, check_size, settle
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


@dataclass(frozen=True, kw_only=True, slots=True)
class AssocRecall:
    """`size` pairs with distinct keys; values are drawn with replacement.

    Prompt: `assoc_recall ; bab dok ; fem gik ; <direct> fem`, 3 * size + 4 tokens.
    """

    name: ClassVar[str] = "assoc_recall"
    summary: ClassVar[str] = "pairs of a key and a value, then a key; the answer is its value"
    source: ClassVar[str] = (
        "arXiv 2402.18510, section 4.2 (AR); keys and values disjoint as in MQAR"
    )
    instruction: ClassVar[str] = (
        "The context is a list of pairs, each a key and its value, and after each pair a "
        "semicolon. The question is one of the keys. Answer with its value."
    )
    size_unit: ClassVar[str] = "key-value pairs"
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = len(words.KEYS)
    # Below, hardly any context of size 1 would be left for each split.
    min_alphabet: ClassVar[int] = 8
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    retrieval_modes: ClassVar[tuple[Mode, ...]] = (Mode.DENSE, Mode.REGEX)
    impossible: ClassVar[Mapping[Mode, str]] = {}
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16
    # Keys and values are drawn from the first so many words of each kind; training starts small.
    alphabet: int = len(words.KEYS)

    def __post_init__(self) -> None:
        """Raises UnsupportedError where `size` pairs cannot have distinct keys."""
        check_size(self)
        smallest = max(self.size, self.min_alphabet)
        check_parameter(self, "alphabet", smallest, len(words.KEYS))

    @property
    def chance(self) -> float:
        """Naming any value that stands in the prompt is right once in `size` times."""
        return 1 / self.size

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address; its context decides the split, so the splits are disjoint."""
        address = address_of(self, split, seed, index)
        generator = address.random()
        keys = generator.sample(words.KEYS[: self.alphabet], self.size)
        value_words = words.VALUES[: self.alphabet]
        values = generator.choices(value_words, k=self.size)
        asked = generator.randrange(self.size)
        context = settle(
            split, generator, values, value_words, lambda drawn: self._context(keys, drawn)
        )
        return Sample(
            address=address,
            context=context,
            question=keys[asked],
            target=values[asked],
            metadata={"position": asked},
        )

    def _context(self, keys: Sequence[str], values: Sequence[str]) -> str:
        # The name is set apart, so that the first pair is a passage like all others.
        separator = f" {words.SEPARATOR} "
        pairs = (f"{key} {value}" for key, value in zip(keys, values, strict=True))
        return separator.join([self.name, *pairs]) + separator.rstrip()

    def siblings(self, sample: Sample) -> list[Sample]:
        """The same pairs with every key asked, in the order of the pairs."""
        pieces = sample.context.split()[2:]
        return [
            replace(
                sample,
                question=key,
                target=value,
                metadata={"position": position},
            )
            for position, (key, value) in enumerate(zip(pieces[0::3], pieces[1::3], strict=True))
        ]

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:
        """Tokens that the longest worked completion takes."""
        query = 4 if mode is Mode.REGEX else 3
        return {Prompting.DIRECT: 0, Prompting.COT: 2, Prompting.SEARCH: query}[prompting] + 3

    def demonstration(
        self, sample: Sample, prompting: Prompting, mode: Mode | None
    ) -> tuple[Segment, ...]:
        """Direct: the value. CoT: the pair first. Search: look the key up, then the value.

        A regular expression returns the word after the key, a dense search the whole pair.
        """
        key = sample.question
        pair = f"{key} {sample.target}"
        if prompting is Prompting.DIRECT:
            return (worked.answer(sample.target),)
        if prompting is Prompting.COT:
            return worked.chain(pair, sample.target)
        if mode is Mode.REGEX:
            query, result = f"{key} {words.CAPTURE_WORD}", sample.target
        else:
            query, result = key, pair
        return worked.query(query), worked.found(result), worked.answer(sample.target)
