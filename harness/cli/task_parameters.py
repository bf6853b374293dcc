"""-T on the command line: parameters of the tasks that are asked, by name."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import click

from harness.errors import InputError, unknown_name
from harness.tasks.parameters import is_balanceable, parameters_of
from harness.tasks.task import Task

TASK_PARAMETERS: Final = click.option(
    "-T",
    "--parameter",
    "parameter",
    metavar="[TASK.]NAME=N",
    multiple=True,
    help="A parameter of a task; see `harness tasks show TASK`. May be given several times.",
)
_BALANCED: Final = "balanced"
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}")


def read_parameters(
    texts: Iterable[str], tasks: Mapping[str, type[Task]]
) -> dict[str, dict[str, int]]:
    """`keys=4` or `needle.keys=4` as values by task and name, for these tasks.

    Raises InputError naming what no task has or several have, what is no number, or given twice.
    Whether a value is in range depends on the size: the task itself says so.
    """
    found: dict[str, dict[str, int]] = {}
    for text in texts:
        named, _, value = text.partition("=")
        task, name = _parameter(named, tasks)
        if not _NUMBER.fullmatch(value):
            raise InputError(f"-T {text}: '{value}' is not a whole number; -T takes NAME=N")
        if name in found.setdefault(task, {}):
            raise InputError(f"-T {text}: {name} of {task} is given twice")
        found[task][name] = int(value)
    return found


def with_balance(
    given: Mapping[str, Mapping[str, int]],
    tasks: Mapping[str, type[Task]],
    stored: Mapping[str, Mapping[str, int]] | None = None,
) -> dict[str, dict[str, int]]:
    """The parameters, with `balanced` where a task has it and the command does not say.

    A new run draws evenly; one that goes on draws as its `stored` parameters say. Late parameters
    that are off by default and off here are left out, as in addresses: cells are those of before.
    """
    found = {task: dict(values) for task, values in given.items()}
    for task, kind in tasks.items():
        values = found.setdefault(task, {})
        if is_balanceable(kind):
            default = 1 if stored is None else stored.get(task, {}).get(_BALANCED, 0)
            values.setdefault(_BALANCED, default)
        for name, one in parameters_of(kind).items():
            if one.is_late and one.default == 0 == values.get(name):
                del values[name]
    return {task: values for task, values in found.items() if values}


def _parameter(named: str, tasks: Mapping[str, type[Task]]) -> tuple[str, str]:
    """The task and the name of the parameter."""
    asked, _, name = named.rpartition(".")
    if asked and asked not in tasks:
        raise unknown_name("task of -T", asked, tasks)
    known = {task: parameters_of(tasks[task]) for task in ([asked] if asked else tasks)}
    if name == "size":
        raise InputError(f"-T {named}: the size is chosen by --size")
    having = [task for task, names in known.items() if name in names]
    if not having:
        everything = dict.fromkeys(one for names in known.values() for one in names)
        raise unknown_name(f"parameter of {', '.join(known)}", name, everything)
    if len(having) > 1:
        raise InputError(
            f"-T {named}: {' and '.join(having)} have it; say which, like -T {having[0]}.{name}=N"
        )
    return having[0], name
