"""What a task promises, and what all tasks share: parameters, addresses, splits, ways."""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import islice
from typing import ClassVar, Final

from harnessapi.values import Mode

from harness.errors import InputError
from harness.sample import Address, Problem, Sample, Split
from harness.scoring.wording import AS_IT_STANDS, Wording
from harness.tasks.balance import wanted_target
from harness.tasks.parameters import balanced_parameter, is_balanceable, parameters_of
from harness.way import Prompting, Style, Way
from harness_retrieval.abbreviations import Abbreviation

# The marker of the answer and the end.
_MARKS: Final = 2
# Half of all contexts are of either split: a task that draws so many in vain draws one of them.
_MAX_DRAWS: Final = 10_000


class UnsupportedError(InputError, ValueError):
    """A task was asked for a size, prompting, style or search that it does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Longest:
    """Words of the longest worked completion, part by part; what is inserted does not count."""

    answer: int = 1
    thought: int = 0
    searches: Mapping[Mode, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task(ABC):
    """A family of questions with one exact answer each; `size` is the knob that sweeps."""

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    # Tells a language model how to read context and question, and what to answer.
    instruction: ClassVar[str]
    # What every context begins with in the symbolic style: the task's word, and a separator where
    # passages follow, so that the first is a passage like all others.
    heading: ClassVar[str]
    # Signs of its own in contexts and completions, and what they mean.
    notation: ClassVar[Mapping[str, str]] = {}
    # What the size counts, and the sizes that can be expressed.
    size_unit: ClassVar[str]
    min_size: ClassVar[int] = 1
    max_size: ClassVar[int] = 256
    default_sizes: ClassVar[tuple[int, ...]] = (16,)
    promptings: ClassVar[tuple[Prompting, ...]] = tuple(Prompting)
    styles: ClassVar[tuple[Style, ...]] = tuple(Style)
    # The kinds of search that it can be asked with, the preferred one first.
    retrieval_modes: ClassVar[tuple[Mode, ...]] = ()
    # Those that cannot find the answer, and why; one that it can be asked with shows it.
    impossible: ClassVar[Mapping[Mode, str]] = {}
    # How else its targets may be worded in plain language.
    wording: ClassVar[Wording] = AS_IT_STANDS
    # Every target there is, where those are few: each has a recall of its own, and samples can be
    # drawn evenly from them.
    few_targets: ClassVar[tuple[str, ...]] = ()
    # What the best simple guess is, and how it is known what it reaches.
    guess: ClassVar[str] = "as the task says itself"
    # Queries that stand for a longer regular expression, sent with every request.
    abbreviations: ClassVar[tuple[Abbreviation, ...]] = ()

    size: int = 16
    balanced: int = balanced_parameter()

    def __post_init__(self) -> None:
        """Raises UnsupportedError for a size or another parameter out of range."""
        if not self.min_size <= self.size <= self.max_size:
            raise UnsupportedError(
                f"{self.name}: size {self.size} is out of range: "
                f"{self.min_size} to {self.max_size} {self.size_unit}"
            )
        for name, one in parameters_of(type(self)).items():
            if not one.allows(value := getattr(self, name), self.size):
                raise UnsupportedError(
                    f"{self.name}: {name} {value} is out of range: "
                    f"{one.limits(self.size)} at size {self.size}"
                )

    @classmethod
    def ways(cls, style: Style = Style.SYMBOLIC) -> tuple[Way, ...]:
        """All ways of answering in a style: without a search, then with each kind of it."""
        plain = (p for p in cls.promptings if p is not Prompting.SEARCH)
        return (
            *(Way(prompting=prompting, style=style) for prompting in plain),
            *(
                Way(prompting=Prompting.SEARCH, retrieval=mode, style=style)
                for mode in cls.retrieval_modes
            ),
        )

    def require(self, way: Way) -> None:
        """Raises UnsupportedError for a way that the task does not have."""
        for kind, asked, known in (
            ("style", way.style, self.styles),
            ("prompting", way.prompting, self.promptings),
        ):
            if asked not in known:
                raise UnsupportedError(f"{self.name}: no {kind} {asked}; it has: {_listed(known)}")
        if way.retrieval is not None and way.retrieval not in self.retrieval_modes:
            known_modes = _listed(self.retrieval_modes)
            raise UnsupportedError(f"{self.name}: no {way.retrieval} search; it has: {known_modes}")

    @property
    def draws_evenly(self) -> bool:
        """Targets as often as each other. `balanced` may be a parameter of a meaning of its own."""
        return bool(self.balanced) and is_balanceable(type(self))

    @property
    @abstractmethod
    def chance(self) -> float:
        """Accuracy of the best simple guess: it counts what stands there, and finds nothing."""

    @property
    def num_distinct(self) -> int | None:
        """At most so many samples differ in context or question, in both splits together.

        None: more than anyone asks.
        """
        return None

    @property
    @abstractmethod
    def longest(self) -> Longest:
        """At least the words of any worked completion."""

    def max_completion_tokens(self, way: Way) -> int:
        """At least as many tokens as any worked completion has; what is inserted does not count."""
        longest = self.longest
        before = longest.thought if way.prompting is Prompting.COT else 0
        if way.retrieval is not None:
            before = longest.searches[way.retrieval]
        return before + longest.answer + _MARKS

    @abstractmethod
    def draws(self, generator: random.Random) -> Iterator[Problem]:
        """Problems without end; the first whose context is of the wanted split is taken.

        Each stands until the next is drawn, which may change its lists.
        """

    def sample(self, split: Split, seed: int, index: int) -> Sample:
        """The sample at this address: a pure function of its arguments and the parameters.

        Its context decides the split, so the splits are disjoint. Raises InputError where the
        task draws none.
        """
        address = self.address_of(split, seed, index)
        wanted = wanted_target(address, self.few_targets) if self.draws_evenly else None
        generator = address.random()
        for problem in islice(self.draws(generator), _MAX_DRAWS):
            context = f"{self.heading} {problem.text}"
            if Split.of(context) is not split:
                continue
            asked = problem.drawn_question(generator)
            if asked is not None and (wanted is None or asked.target == wanted):
                return Sample(address=address, context=context, problem=asked)
        if wanted is not None:
            raise InputError(
                f"{address.key}: of the split {split} none of {_MAX_DRAWS:,} problems has the "
                f"target {wanted}; -T {self.name}.balanced=0 takes targets as they come"
            )
        raise InputError(
            f"{address.key}: draws() ended, or gave {_MAX_DRAWS:,} problems, without one that can "
            f"be asked: of the split {split} none, for their contexts decide it. It has to go on, "
            "with other contexts"
        )

    def address_of(self, split: Split, seed: int, index: int) -> Address:
        """What names the sample, without drawing it."""
        return Address(
            task=self.name,
            parameters=self._address_parameters,
            split=split,
            seed=seed,
            index=index,
        )

    @property
    def _address_parameters(self) -> tuple[tuple[str, int], ...]:
        """In alphabetical order; one that came later than addresses only where it is on."""
        values = ((name, getattr(self, name)) for name in _field_names(type(self)))
        omitted = _omitted(type(self))
        return tuple((name, value) for name, value in values if value or name not in omitted)


@cache
def _field_names(kind: type[Task]) -> tuple[str, ...]:
    return tuple(sorted(one.name for one in fields(kind)))


@cache
def _omitted(kind: type[Task]) -> frozenset[str]:
    """What no address has where it is 0."""
    known = ((one.name, one.metadata.get("parameter")) for one in fields(kind))
    return frozenset(name for name, one in known if one is not None and one.is_late)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
