"""What a checkpoint's model card says to programs: front matter, as cards of Hugging Face have it.

---
trained_tasks: [assoc_recall, index]
trained_on:
  assoc_recall: {direct: 1200, search regex: 340}
  index: {cot: 500}
trained_by: {"recipe": "frontier", "model": "gru", "seed": 1}
---
"""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import msgspec
from harnessapi.values import TrainedBy, TrainedOn

from harness_servers.errors import CheckpointError

CARD: Final = "README.md"
_FENCE: Final = "---"
_TASKS: Final = "trained_tasks:"
_BUDGET: Final = "trained_on:"
_TRAINING: Final = "trained_by:"
# No wire carries a larger one.
_MAX_SEED: Final = 2**64
_NAMES: Final = re.compile(r"\[\s*(\w+(?:\s*,\s*\w+)*)?\s*\]")
_TASK_BUDGET: Final = re.compile(r"\s+(\w+):\s*\{([^{}]*)\}\s*")
_WAY_BUDGET: Final = re.compile(r"\s*(\w+(?: \w+)*):\s*(\d{1,18})\s*")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """Nothing, where the card or the line is missing."""

    trained_tasks: tuple[str, ...] = ()
    trained_on: tuple[TrainedOn, ...] = ()
    trained_by: TrainedBy | None = None


def read_card(path: Path) -> ModelCard:
    """What stands in the front matter; keys that are not ours are passed over.

    Raises CheckpointError for a line of ours that cannot be read, and for front matter without an
    end.
    """
    tasks: tuple[str, ...] = ()
    budget: list[TrainedOn] = []
    training: TrainedBy | None = None
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
        elif line.startswith(_TRAINING):
            training = _training(path, line.removeprefix(_TRAINING).strip())
    return ModelCard(trained_tasks=tasks, trained_on=tuple(budget), trained_by=training)


def training_line(training: TrainedBy) -> str:
    """The line of the front matter that read_card reads it from: JSON, which YAML reads too."""
    told = {name: value for name, value in asdict(training).items() if value != ""}
    return f"{_TRAINING} {json.dumps(told)}\n"


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


def _training(path: Path, value: str) -> TrainedBy:
    try:
        training = msgspec.json.decode(value, type=TrainedBy)
        if not 0 <= training.seed < _MAX_SEED:
            raise ValueError(f"seed {training.seed}")
    except ValueError as error:
        raise CheckpointError(
            f'{path.name}: trained_by is {value!r}; {{"recipe": "name", "seed": 1}} was expected, '
            f"with a model where the recipe has several ({error})"
        ) from None
    return training
