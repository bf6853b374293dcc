"""What a report says of each model: its config, its trainings, and its cells over these."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from harnessapi.values import ModelDescription

from harness.reports.rows import NOTHING, number
from harness.reports.trained_models import Spread, TrainedModel, spread, training_of
from harness.reports.units import bytes_text, state_text
from harness.runs.results import CellResult

# Of a digest, enough to tell checkpoints apart.
_SHOWN_DIGITS: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedAlike:
    """One task, size and way of a model, over its trainings."""

    model: str
    cells: tuple[CellResult, ...]
    accuracy: Spread

    @property
    def first(self) -> CellResult:
        """What was asked is the same in all."""
        return self.cells[0]

    def total(self, count: str) -> int:
        """A count of the metrics, added up."""
        return sum(getattr(cell.metrics, count) for cell in self.cells)

    @property
    def state_bytes(self) -> float | None:
        """At the end of a sample, the mean of the cells that tell it."""
        states = [cell.state_bytes for cell in self.cells if cell.state_bytes]
        return sum(states) / len(states) if states else None


@dataclass(frozen=True, kw_only=True)
class ModelPage:
    """A section of the page; `number` counts from 1."""

    number: int
    model: TrainedModel

    @property
    def anchor(self) -> str:
        """Its place on the page: a name may have any letters in it."""
        return f"model-{self.number}"

    @cached_property
    def rows(self) -> list[AskedAlike]:
        """With and without a search beside each other."""
        return asked_alike(self.model)

    @cached_property
    def config(self) -> Mapping[str, str]:
        """Of its config.json what is no table; empty where the server does not tell it."""
        try:
            read = json.loads(self.model.description.config_json or "{}")
        except (ValueError, RecursionError):
            return {"config.json": self.model.description.config_json}
        return {key: _text(value) for key, value in read.items()} if isinstance(read, dict) else {}

    @property
    def facts(self) -> Mapping[str, str]:
        """What its server says of it."""
        model = self.model.description
        training = model.trained_by
        told = {
            "model_type": self.config.get("model_type", ""),
            "family": model.family,
            "parameters": f"{model.num_parameters:,}" if model.num_parameters else "",
            "state": _state(model),
            "cache policy": model.cache_policy,
            "recipe": " ".join(filter(None, (training.recipe, training.model))) if training else "",
            "engine": f"{model.engine} {model.engine_version}".strip(),
            "computed in": model.dtype,
        }
        return {name: value for name, value in told.items() if value}

    @property
    def trainings(self) -> list[CellResult]:
        """A cell of each, by seed."""
        return list(self.model.trainings)

    def endpoints_of(self, training: CellResult) -> str:
        """All through which it was asked."""
        own = (c.label for c in self.model.cells if training_of(c) == training_of(training))
        return ", ".join(dict.fromkeys(own))


def model_pages(models: Iterable[TrainedModel]) -> list[ModelPage]:
    """One for each, in their order."""
    return [ModelPage(number=number, model=model) for number, model in enumerate(models, start=1)]


def asked_alike(model: TrainedModel) -> list[AskedAlike]:
    """By task, size and way."""
    groups: dict[tuple[str, int, str], list[CellResult]] = {}
    for cell in model.cells:
        groups.setdefault((cell.asked.task_label, cell.asked.size, cell.way), []).append(cell)
    return [
        AskedAlike(model=model.name, cells=tuple(cells), accuracy=accuracy)
        for _, cells in sorted(groups.items(), key=lambda group: group[0])
        if (accuracy := spread(cells)) is not None
    ]


def _state(model: ModelDescription) -> str:
    if not model.state_bytes and not model.state_bytes_per_token:
        return "not told"
    told = state_text(model.state_bytes, model.state_bytes_per_token).replace("\n", " ")
    return f"{told} ({model.state_bits} bits of its context)" if model.state_bits else told


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _range(row: AskedAlike) -> str:
    if row.accuracy.num_trainings == 1:
        return NOTHING
    return f"{row.accuracy.low:.3f}-{row.accuracy.high:.3f}"


# The figures of a model's rows.
ROWS: Final[Mapping[str, Callable[[AskedAlike], str]]] = {
    "task": lambda row: row.first.asked.task_label,
    "size": lambda row: str(row.first.asked.size),
    "way": lambda row: row.first.way,
    "trainings": lambda row: str(row.accuracy.num_trainings),
    "mean": lambda row: number(row.accuracy.mean, 3),
    "range": _range,
    "each": lambda row: ", ".join(number(value, 3) for value in row.accuracy.accuracies),
    "chance": lambda row: number(row.first.chance, 3),
    "bound": lambda row: number(row.first.bound, 3),
    "state": lambda row: bytes_text(round(row.state_bytes)) if row.state_bytes else NOTHING,
    "n": lambda row: str(row.total("n")),
    "no answer": lambda row: str(row.total("no_answer")),
    "truncated": lambda row: str(row.total("truncated")),
    "errored": lambda row: str(row.total("errored")),
}
# The same of several models.
OVER_TRAININGS: Final[Mapping[str, Callable[[AskedAlike], str]]] = {
    "model": lambda row: row.model,
    **{name: text for name, text in ROWS.items() if name in {"task", "size", "way"}},
    "state": ROWS["state"],
    **{name: text for name, text in ROWS.items() if name in {"trainings", "mean", "range"}},
    "chance": ROWS["chance"],
}


def training_columns(page: ModelPage) -> Mapping[str, Callable[[CellResult], str]]:
    """Of the trainings of this model."""
    return {
        "seed": lambda cell: str(cell.model.trained_by.seed) if cell.model.trained_by else NOTHING,
        "endpoint": page.endpoints_of,
        "checkpoint": lambda cell: cell.model.checkpoint_digest[:_SHOWN_DIGITS] or NOTHING,
    }
