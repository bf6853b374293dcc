"""The options that decide what a run asks; None means that the default rule decides."""

from dataclasses import dataclass, field, fields
from typing import Any, Final

from harnessapi.values import Mode

from harness.runs.shard import Shard
from harness.tasks import find_task
from harness.tasks.foreign import TaskSource
from harness.tasks.task import Task
from harness.way import Prompting, Reading, SearchArm, Style

DEFAULT_NUM_EXAMPLES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """As given on the command line, `all` replaced by names. `retrieval`: a mode, or `none`."""

    endpoint: tuple[str, ...]
    task: tuple[str, ...]
    size: tuple[int, ...] | None
    samples: int
    seed: int
    prompting: tuple[Prompting, ...] | None
    style: Style | None
    retrieval: str | None
    max_new_tokens: int | None
    # Worked ones before each question of the natural style.
    examples: int = DEFAULT_NUM_EXAMPLES
    # So often each sample is asked.
    repeats: int = 1
    # Log-probabilities are stored, with so many of the likeliest tokens of each place; None: none.
    log_probs: int | None = None
    # Where a cell has fewer different samples than that, each is asked once; runs of before ask
    # them again and again.
    distinct: bool = False
    # By task and name, those that were given.
    parameter: dict[str, dict[str, int]] = field(default_factory=dict, hash=False)
    # What every endpoint is told besides the text, over what its own table says.
    request: dict[str, Any] = field(default_factory=dict, hash=False)
    # By name, the tasks that are not ours.
    task_source: dict[str, TaskSource] = field(default_factory=dict, hash=False)
    # The arms of the grid; those of the search are of the cells that search.
    reading: tuple[Reading, ...] = (Reading.ONCE,)
    filler: tuple[int, ...] = (0,)
    search: tuple[SearchArm, ...] = (SearchArm.HONEST,)
    # Of all that the other options ask, this part; None: all of it.
    shard: Shard | None = None

    def task_kind(self, name: str) -> type[Task]:
        """The class of a task of the run. Raises InputError where it is gone."""
        return find_task(self.task_spec(name))

    def task_spec(self, name: str) -> str:
        """As a command would name it."""
        source = self.task_source.get(name)
        return name if source is None else source.spec

    @property
    def mode(self) -> Mode | None:
        """The kind of search that was asked for. Raises ValueError for one unknown here."""
        return None if self.retrieval in {None, "none"} else Mode(self.retrieval)

    @property
    def num_indices(self) -> int:
        """So many samples of a cell are asked, where its task has enough that differ."""
        everything = range(self.samples)
        return len(everything if self.shard is None else self.shard.among(everything))


def option_differences(
    stored: RunOptions, given: RunOptions, names: set[str], *, other: str = "the command"
) -> list[str]:
    """One line for each of the named options that differs from what the run has."""
    return [
        f"--{field.name.replace('_', '-')}: the run has {_shown(was)}, {other} {_shown(now)}"
        for field in fields(RunOptions)
        if field.name in names
        and (was := getattr(stored, field.name)) != (now := getattr(given, field.name))
    ]


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "the default"
    if isinstance(value, dict):
        return ",".join(sorted(_assignments(value)))
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def _assignments(table: dict[str, Any], path: str = "") -> list[str]:
    """As on the command line: `needle.keys=4`, `extra_body.top_k=20`, `temperature=0.7`."""
    found = []
    for name, value in table.items():
        inner = _assignments(value, f"{path}{name}.") if isinstance(value, dict) else None
        found += [f"{path}{name}={value}"] if inner is None else inner
    return found
