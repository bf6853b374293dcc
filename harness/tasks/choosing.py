"""From what a command names as tasks to their classes, and to what a run keeps of others' ones."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from harness.errors import InputError, unknown_name
from harness.plugins import package_of
from harness.tasks import TASKS
from harness.tasks.foreign import (
    ForeignTask,
    TaskSource,
    file_spec,
    installed_tasks,
    is_file_spec,
    load_file_task,
    load_installed_task,
)
from harness.tasks.promises import check_kind
from harness.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenTasks:
    """By the name that a task has in addresses, cells and reports."""

    kinds: dict[str, type[Task]]
    # Of those that are not ours.
    sources: dict[str, TaskSource]

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were named."""
        return tuple(self.kinds)


def choose_tasks(named: Iterable[str]) -> ChosenTasks:
    """Ours by name (`all`: every one), a package's by name, a file's as `PATH.py:CLASS`.

    Raises InputError for an unknown name, one that two tasks have, and a broken promise.
    """
    kinds: dict[str, type[Task]] = {}
    sources: dict[str, TaskSource] = {}
    for one in named:
        for name in TASKS if one == "all" else (one,):
            foreign = _foreign(file_spec(name) if is_file_spec(name) else name)
            if foreign is None:
                kinds[name] = TASKS[name]
                continue
            own, source = foreign.kind.name, foreign.source
            if own in sources and sources[own] != source:
                raise InputError(f"{sources[own].told} and {source.told} both name a task '{own}'")
            kinds[own], sources[own] = foreign.kind, source
    return ChosenTasks(kinds=kinds, sources=sources)


def foreign_names() -> tuple[str, ...]:
    """Of the tasks of installed packages; none is imported."""
    return tuple(installed_tasks())


@cache
def _foreign(name: str) -> ForeignTask | None:
    """Checked; None for one of ours."""
    if is_file_spec(name):
        foreign, where = load_file_task(name), f"task '{name}'"
        check_kind(foreign.kind, where)
        _require_free(foreign.kind.name, where)
        return foreign
    _require_free_of_packages(name)
    if name in TASKS:
        return None
    installed = load_installed_task(name)
    if installed is None:
        raise unknown_name("task", name, (*TASKS, *foreign_names()))
    where = f"task '{name}' of {installed.source.package}"
    check_kind(installed.kind, where)
    if installed.kind.name != name:
        raise InputError(f"{where}: its class says that it is '{installed.kind.name}'")
    return installed


def _require_free(name: str, where: str) -> None:
    """A file's task needs a name of its own: stored samples are addressed by it."""
    if name in TASKS:
        raise InputError(f"{where}: its name, '{name}', is one of ours; give it another")
    if name in foreign_names():
        other = package_of(installed_tasks()[name])
        raise InputError(f"{where}: its name, '{name}', is that of a task of {other}")


def _require_free_of_packages(name: str) -> None:
    if name in TASKS and name in foreign_names():
        one = installed_tasks()[name]
        raise InputError(
            f"task '{name}' is ours (harness.tasks.{name}), and {package_of(one)} brings one of "
            f"that name ({one.value}): rename that one, or uninstall it"
        )
