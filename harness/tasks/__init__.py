"""The table of tasks. A new task is one file, one line here, one test."""

from dataclasses import fields
from typing import Final

from harness.errors import unknown_name
from harness.tasks.assoc_recall import AssocRecall
from harness.tasks.copy import Copy
from harness.tasks.counting import Counting
from harness.tasks.index import Index
from harness.tasks.is_tree import IsTree
from harness.tasks.mqar import Mqar
from harness.tasks.needle import Needle
from harness.tasks.ngram_retrieval import NgramRetrieval
from harness.tasks.parity import Parity
from harness.tasks.permutation_composition import PermutationComposition
from harness.tasks.phonebook import Phonebook
from harness.tasks.position_retrieval import PositionRetrieval
from harness.tasks.task import Task

TaskKind = (
    type[AssocRecall]
    | type[Copy]
    | type[Counting]
    | type[Index]
    | type[IsTree]
    | type[Mqar]
    | type[Needle]
    | type[NgramRetrieval]
    | type[Parity]
    | type[PermutationComposition]
    | type[Phonebook]
    | type[PositionRetrieval]
)

TASKS: Final[dict[str, TaskKind]] = {
    kind.name: kind
    for kind in (
        AssocRecall,
        Index,
        NgramRetrieval,
        Counting,
        IsTree,
        Copy,
        Mqar,
        Phonebook,
        PositionRetrieval,
        Needle,
        PermutationComposition,
        Parity,
    )
}


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
