"""What the signs in prompts and completions mean: those of all tasks, and those of one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from harness.tasks import TASKS
from harness.tasks.task import Task

_COMMON: Final = {
    "<direct>  <cot>  <regex>  <dense>": "end a prompt's context and say how to answer what "
    "follows: at once, after a chain of thought, with searches by regular expression, with "
    "searches by likeness",
    ";": "ends a passage of the context, such as a key with its value",
    "<search> … </search>": "a query: the model wrote it, marks included",
    "[…]": "inserted by the search into what the model reads; the brackets are this page's",
    "FAILED": "inserted where a search found nothing",
    "<answer> … <eos>": "the answer, and the end; the last answer that the model wrote counts",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskNotation:
    """What a task asks, and its signs."""

    instruction: str
    signs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Notation:
    """Sign to meaning: those of all tasks, and by name those of the tasks that are known here."""

    common: Mapping[str, str]
    tasks: Mapping[str, TaskNotation]


def notations(tasks: Iterable[str]) -> Notation:
    """What is known of the signs of these tasks."""
    return Notation(common=_COMMON, tasks={name: _of(name) for name in tasks if name in TASKS})


@cache
def _of(name: str) -> TaskNotation:
    task = TASKS[name]
    return TaskNotation(instruction=task.instruction, signs={**task.notation, **_queries(task)})


def _queries(task: type[Task]) -> dict[str, str]:
    return {
        f"<search> {one.query} </search>": f"stands for the pattern {one.pattern}"
        for one in task.abbreviations
    }
