"""What a checkpoint's model card says to programs: front matter, as cards of Hugging Face have it.

---
trained_tasks: [assoc_recall, index]
trained_on:
  assoc_recall: {direct: 1200, search regex: 340}
  index: {cot: 500}
---
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harnessapi.values import TrainedOn

from harness_servers.errors import CheckpointError

CARD: Final = "README.md"
_FENCE: Final = "---"
_TASKS: Final = "trained_tasks:"
_BUDGET: Final = "trained_on:"
_NAMES: Final = re.compile(r"\[\s*(\w+(?:\s*,\s*\w+)*)?\s*\]")
_TASK_BUDGET: Final = re.compile(r"\s+(\w+):\s*\{([^{}]*)\}\s*")
_WAY_BUDGET: Final = re.compile(r"\s*(\w+(?: \w+)*):\s*(\d{1,18})\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Nothing, where the card or the line is missing."""

    trained_tasks: tuple[str, ...] = ()
    trained_on: tuple[TrainedOn, ...] = ()


def read_card(path: Path) -> ModelCard:
    """What stands in the front matter; keys that are not ours are passed over.

    Raises CheckpointError for a line of ours that cannot be read, and for front matter without an
    end.
    """
    tasks: tuple[str, ...] = ()
    budget: list[TrainedOn] = []
    is_in_budget = False
    for line in _front_matter(path):
        if not line.startswith((" ", "\t")):
            is_in_budget = line.rstrip() == _BUDGET
        elif is_in_budget:
            budget += _task_budget(path, line)
        if line.startswith(_TASKS):
            tasks = _names(path, line.removeprefix(_TASKS).strip())
        elif line.startswith(_BUDGET) and not is_in_budget:
            raise CheckpointError(f"{path.name}: a line of its own for each task of trained_on")
    return ModelCard(trained_tasks=tasks, trained_on=tuple(budget))


def _front_matter(path: Path) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        return []
    for number, line in enumerate(lines[1:], start=1):
        if line.rstrip() == _FENCE:
            return lines[1:number]
    raise CheckpointError(f"{path.name}: its front matter has no end, a line {_FENCE!r}")


def _names(path: Path, value: str) -> tuple[str, ...]:
    if not (match := _NAMES.fullmatch(value)):
        raise CheckpointError(f"{path.name}: trained_tasks is {value!r}; [name, name] was expected")
    return tuple(re.split(r"\s*,\s*", match[1])) if match[1] else ()


def _task_budget(path: Path, line: str) -> list[TrainedOn]:
    task = _TASK_BUDGET.fullmatch(line)
    ways = [_WAY_BUDGET.fullmatch(part) for part in task[2].split(",")] if task else []
    if not task or None in ways:
        raise CheckpointError(
            f"{path.name}: trained_on has {line.strip()!r}; "
            "task: {way: contexts, way: contexts} was expected"
        )
    return [
        TrainedOn(task=task[1], way=way[1], contexts=int(way[2])) for way in ways if way is not None
    ]
