"""The table of tasks. A new task is one file, one line here, one test."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Final

from harness.errors import unknown_name
from harness.tasks.task import Task

# The name of a task, which is its module's, and its class there.
_CLASSES: Final = {
    "assoc_recall": "AssocRecall",
    "index": "Index",
    "ngram_retrieval": "NgramRetrieval",
    "counting": "Counting",
    "is_tree": "IsTree",
    "copy": "Copy",
    "mqar": "Mqar",
    "phonebook": "Phonebook",
    "position_retrieval": "PositionRetrieval",
    "needle": "Needle",
    "permutation_composition": "PermutationComposition",
    "parity": "Parity",
}


class _Tasks(Mapping[str, type[Task]]):
    """Imports the module of a task when it is asked for."""

    def __getitem__(self, name: str) -> type[Task]:
        kind = _CLASSES[name]
        found: type[Task] = getattr(import_module(f"{__name__}.{name}"), kind)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(_CLASSES)

    def __len__(self) -> int:
        return len(_CLASSES)


TASKS: Final[Mapping[str, type[Task]]] = _Tasks()


def make_task(name: str, **parameters: int) -> Task:
    """The task of this name. Raises InputError for an unknown name, parameter or value."""
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    kind = TASKS[name]
    known = [parameter.name for parameter in fields(kind)]
    for parameter in parameters:
        if parameter not in known:
            raise unknown_name(f"parameter of {name}", parameter, known)
    return kind(**parameters)
