"""What a task of other people promises, checked on a few samples before anything is asked.

The tests of `tests/harness/tasks` hold ours to the same, on many more.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

from harnessapi.values import Mode

from harness.errors import InputError
from harness.sample import Problem, Sample, Split
from harness.scoring.exact import Verdict, score_exact
from harness.scoring.marked import score_marked
from harness.scoring.wording import Wording
from harness.steps import Answer, Found, Query, Step
from harness.tasks import natural, symbolic
from harness.tasks.foreign import naming
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Longest, Task
from harness.way import Prompting, Style, Way

_NUM_SAMPLES: Final = 3
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_TEXTS: Final = ("summary", "source", "instruction", "heading", "size_unit")
# (attribute, what its items are, whether there may be none)
_TUPLES: Final = (
    ("default_sizes", int, False),
    ("promptings", Prompting, False),
    ("styles", Style, False),
    ("retrieval_modes", Mode, True),
    ("few_targets", str, True),
)


def check_kind(kind: Any, where: str) -> None:
    """The class, and samples at its smallest size and its default ones.

    Raises InputError that begins with `where` and names the method and the rule that is broken.
    """
    _check_class(kind, where)
    for size in dict.fromkeys((kind.min_size, *kind.default_sizes)):
        with naming(where, f"size {size}, which it says that it has,"):
            task = kind(size=size)
        check_samples(task, where)
    with naming(where, f"size {kind.max_size}, which it says that it has,"):
        kind(size=kind.max_size)


def check_samples(task: Task, where: str) -> None:
    """Draws a few at the task's size, each twice, and looks at all that is read of them.

    Raises InputError as `check_kind` does.
    """
    _Check(task, where).run()


def _check_class(kind: Any, where: str) -> None:
    if not (inspect.isclass(kind) and issubclass(kind, Task)):
        raise InputError(f"{where}: it is no task: derive the class from harness.tasks.task.Task")
    if missing := sorted(kind.__abstractmethods__):
        raise InputError(f"{where}: it has no {', '.join(missing)}")
    bare = [name for name, value in vars(kind).items() if isinstance(value, dataclasses.Field)]
    if bare or not dataclasses.is_dataclass(kind):
        raise InputError(f"{where}: it lacks @dataclass(frozen=True, kw_only=True, slots=True)")
    for name in ("name", *_TEXTS):
        value = getattr(kind, name, None)
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{where}: {name} is {value!r}: it has to be a text")
    if not _NAME.fullmatch(kind.name):
        raise InputError(
            f"{where}: name is {kind.name!r}: small letters, digits and _ alone, for addresses"
        )
    for name, item, may_be_empty in _TUPLES:
        values = getattr(kind, name)
        is_tuple = isinstance(values, tuple) and all(isinstance(one, item) for one in values)
        if not is_tuple or not (values or may_be_empty):
            raise InputError(f"{where}: {name} is {values!r}: a tuple of {item.__name__} is wanted")
    if not isinstance(kind.wording, Wording):
        raise InputError(f"{where}: wording is {kind.wording!r}: a Wording is wanted")
    if len(set(kind.few_targets)) < len(kind.few_targets):
        raise InputError(f"{where}: few_targets has one of them twice: {kind.few_targets!r}")
    _check_sizes(kind, where)
    if (Prompting.SEARCH in kind.promptings) != bool(kind.retrieval_modes):
        raise InputError(
            f"{where}: promptings and retrieval_modes disagree: with prompting search it needs a "
            "kind of search, and without one promptings has to leave search out"
        )


def _check_sizes(kind: type[Task], where: str) -> None:
    limits = (kind.min_size, kind.max_size)
    if not all(isinstance(one, int) for one in limits) or not 0 < limits[0] <= limits[1]:
        raise InputError(f"{where}: min_size and max_size are {limits[0]!r} and {limits[1]!r}")
    for size in kind.default_sizes:
        if not kind.min_size <= size <= kind.max_size:
            raise InputError(
                f"{where}: default_sizes has {size}: it says {limits[0]} to {limits[1]} itself"
            )


class _Check:
    """Of a task at one size."""

    def __init__(self, task: Task, where: str) -> None:
        self._task = task
        self._where = f"{where} at size {task.size}"

    def run(self) -> None:
        self._check_figures()
        addresses = [(split, index) for split in Split for index in range(_NUM_SAMPLES)]
        first = [self._drawn(split, index) for split, index in addresses]
        # In another order: nothing may be kept from one sample to the next.
        again = [self._drawn(split, index) for split, index in reversed(addresses)]
        for one, other in zip(first, reversed(again), strict=True):
            self._check_same(one, other)
        contexts = [{one.context for one in first if one.address.split is split} for split in Split]
        if contexts[0] & contexts[1]:
            raise self._broken("sample()", "train and test share a context")
        for one in first:
            self._check_sample(one)

    def _check_figures(self) -> None:
        with self._of("chance"):
            chance = self._task.chance
        if not isinstance(chance, float | int) or not 0 <= chance <= 1:
            raise self._broken("chance", f"{chance!r} is no share, 0 to 1")
        with self._of("num_distinct"):
            most = self._task.num_distinct
        if most is not None and (not isinstance(most, int) or most < 1):
            raise self._broken("num_distinct", f"{most!r} is no number of samples, nor None")
        with self._of("longest"):
            longest = self._task.longest
        if not isinstance(longest, Longest):
            raise self._broken("longest", f"{longest!r} is no Longest")
        if missing := [mode for mode in self._task.retrieval_modes if mode not in longest.searches]:
            raise self._broken("longest", f"searches lacks {', '.join(missing)}")

    def _drawn(self, split: Split, index: int) -> Sample:
        with self._of(f"draws() of sample {split} {index}"):
            sample = self._task.sample(split, 0, index)
        if not isinstance(sample, Sample) or not isinstance(sample.problem, Problem):
            raise self._broken("draws()", f"it gave {type(sample).__name__}, not a Problem")
        return sample

    def _check_same(self, one: Sample, other: Sample) -> None:
        """The same address, the same bytes."""
        for what, was, now in (
            ("context", one.context, other.context),
            ("question", self._read(one, "question"), self._read(other, "question")),
            ("target", self._read(one, "target"), self._read(other, "target")),
        ):
            if was != now:
                raise self._broken(
                    "draws()",
                    f"{one.address.key} has another {what} when it is drawn again: everything "
                    "random has to come from the generator that is given",
                )

    def _read(self, sample: Sample, name: str) -> str:
        """A text of the problem."""
        method = f"{type(sample.problem).__name__}.{name}"
        with self._of(method):
            value = getattr(sample.problem, name)
        if not isinstance(value, str):
            raise self._broken(method, f"{value!r} is no text")
        if value != " ".join(value.split()):
            raise self._broken(method, f"{value[:80]!r}: words with one space between are wanted")
        return value

    def _check_sample(self, sample: Sample) -> None:
        problem = type(sample.problem).__name__
        if not self._read(sample, "text"):
            raise self._broken(f"{problem}.text", "it is empty")
        target = self._read(sample, "target")
        if not target:
            raise self._broken(f"{problem}.target", "it is empty: nothing could be right")
        if self._task.few_targets and target not in self._task.few_targets:
            few = ", ".join(self._task.few_targets)
            raise self._broken(f"{problem}.target", f"'{target}' is none of few_targets: {few}")
        if Split.of(sample.context) is not sample.address.split:
            raise self._broken("sample()", f"{sample.address.key} is of the other split")
        with self._of(f"{problem}.metadata"):
            metadata = dict(sample.metadata)
        if not all(isinstance(value, str | int) for value in metadata.values()):
            raise self._broken(
                f"{problem}.metadata", f"{metadata!r}: texts and whole numbers alone"
            )
        for style in self._task.styles:
            for way in self._task.ways(style):
                self._check_way(sample, way)

    def _check_way(self, sample: Sample, way: Way) -> None:
        """The worked completion is right, and as short as the task says."""
        method = f"{type(sample.problem).__name__}.{_method_of(way)}"
        try:
            with self._of(method):
                steps = list(sample.steps(way))
                make_prompt(self._task, sample, way)
        except InputError as error:
            if isinstance(error.__cause__, NotImplementedError):
                raise self._broken(method, f"it is not written, and {way.name} needs it") from None
            raise
        if not all(isinstance(step, Step) and isinstance(step.text, str) for step in steps):
            raise self._broken(method, "it gives Thought, Query, Found and Answer alone")
        for before, after in pairwise(steps):
            if isinstance(before, Query) != isinstance(after, Found):
                raise self._broken(method, "each Query is followed by what it has Found")
        if sum(isinstance(step, Answer) for step in steps) != 1:
            raise self._broken(method, "an Answer is not its own to give: the target is")
        if self._verdict(sample, steps, way) is not Verdict.CORRECT:
            raise self._broken(
                method,
                f"the worked completion of {sample.address.key}, {way.name}, is not scored as "
                f"correct; its target is {sample.target!r}",
            )
        written = " ".join(one.text for one in symbolic.write(steps) if not one.inserted)
        if (num_words := len(written.split())) > (most := self._task.max_completion_tokens(way)):
            raise self._broken(
                "longest", f"a worked completion ({way.name}) has {num_words} words, it says {most}"
            )

    def _verdict(self, sample: Sample, steps: list[Step], way: Way) -> Verdict:
        if way.style is Style.NATURAL:
            reply, wording = natural.write(steps), self._task.wording
            return score_marked(reply, sample.target, truncated=False, wording=wording)
        written = " ".join(one.text for one in symbolic.write(steps) if not one.inserted)
        return score_exact(written, sample.target, truncated=False)

    @contextmanager
    def _of(self, method: str) -> Iterator[None]:
        with naming(self._where, method):
            yield

    def _broken(self, method: str, rule: str) -> InputError:
        return InputError(f"{self._where}: {method}: {rule}")


def _method_of(way: Way) -> str:
    if way.prompting is Prompting.COT:
        return "thought()"
    if way.prompting is Prompting.SEARCH:
        return "regex_searches()" if way.retrieval is Mode.REGEX else "dense_searches()"
    return "target"
