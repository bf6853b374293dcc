"""What a task is: a frozen dataclass of parameters that makes samples and words them."""

from collections.abc import Mapping
from typing import ClassVar, Protocol

from harness.errors import InputError
from harness.sample import Prompting, Sample, Segment, Split, Style
from harness_retrieval.abbreviations import Abbreviation
from harness_retrieval.types import Mode


class UnsupportedError(InputError, ValueError):
    """A task was asked for a size, prompting, style or search that it does not have."""


class Task(Protocol):
    """A family of questions with one exact answer each; `size` is the knob that sweeps."""

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    # Tells a language model how to read context and question, and what to answer.
    instruction: ClassVar[str]
    # What the size counts, and the sizes that can be expressed.
    size_unit: ClassVar[str]
    min_size: ClassVar[int]
    max_size: ClassVar[int]
    default_sizes: ClassVar[tuple[int, ...]]
    promptings: ClassVar[tuple[Prompting, ...]]
    styles: ClassVar[tuple[Style, ...]]
    # The kinds of search that it can be asked with, the preferred one first.
    retrieval_modes: ClassVar[tuple[Mode, ...]]
    # Those that cannot find the answer, and why; one that it can be asked with shows it.
    impossible: ClassVar[Mapping[Mode, str]]
    # Queries that stand for a longer regular expression, sent with every request.
    abbreviations: ClassVar[tuple[Abbreviation, ...]]

    @property
    def size(self) -> int:
        """The value of the knob."""
        ...

    @property
    def chance(self) -> float:
        """Accuracy of the best guess that does not look up anything."""
        ...

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address: a pure function of its arguments and the parameters."""
        ...

    def siblings(self, sample: Sample) -> list[Sample]:
        """Every question that can be asked about the sample's context, the sample's own too.

        For training, where one context can teach many answers. Not addressed, never evaluated.
        """
        ...

    def max_completion_tokens(self, prompting: Prompting, mode: Mode | None) -> int:
        """At least as many tokens as any worked completion has; what is inserted does not count."""
        ...

    def demonstration(
        self, sample: Sample, prompting: Prompting, mode: Mode | None
    ) -> tuple[Segment, ...]:
        """The completion that a perfect model would write, with what its searches insert."""
        ...
