"""The table of our tasks. A new one is one file, one line here, one test."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Final

from harness.errors import unknown_name
from harness.tasks.parameters import parameters_of
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
    """The task of this name, or of a file: `PATH.py:CLASS`.

    Raises InputError for an unknown name, parameter or value, and for a task that breaks a promise.
    """
    return build_task(TASKS[name] if name in TASKS else find_task(name), **parameters)


def build_task(kind: type[Task], **parameters: int) -> Task:
    """Raises InputError for an unknown parameter or value."""
    named = parameters_of(kind)
    known = [one.name for one in fields(kind) if one.name in named or not one.metadata]
    for parameter in parameters:
        if parameter not in known:
            raise unknown_name(f"parameter of {kind.name}", parameter, known)
    return kind(**parameters)


def find_task(name: str) -> type[Task]:
    """Ours of this name, that of an installed package, or of a file; others' are checked.

    Raises InputError for an unknown name, for one that two have, and for a broken promise.
    """
    # They import this module; and who asks ours alone does not look through what is installed.
    from harness.tasks.choosing import choose_tasks  # noqa: PLC0415

    if name == "all":
        raise unknown_name("task", name, TASKS)
    [kind] = choose_tasks([name]).kinds.values()
    return kind
