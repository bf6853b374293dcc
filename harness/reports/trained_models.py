"""The models of a report: checkpoints that differ in the training's seed alone are one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from harnessapi.values import ModelDescription

from harness.reports.units import count_text, state_text
from harness.runs.results import CellResult

Cells = Sequence[CellResult]


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """An accuracy over trainings, by seed: of each the share of its samples that is right."""

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Every training counts alike, however many samples it was asked."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def low(self) -> float:
        """Of the worst training."""
        return min(self.accuracies)

    @property
    def high(self) -> float:
        """Of the best training."""
        return max(self.accuracies)

    @property
    def num_trainings(self) -> int:
        """Of one there is no range."""
        return len(self.accuracies)


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """All cells of one model, whichever training, endpoint and run they are of."""

    name: str
    cells: tuple[CellResult, ...]

    @property
    def description(self) -> ModelDescription:
        """Of its first training: in what is shown all are alike."""
        return self.cells[0].model

    @property
    def grows(self) -> bool:
        """Its state does, with the context."""
        return self.description.state_bytes_per_token > 0

    @cached_property
    def trainings(self) -> tuple[CellResult, ...]:
        """A cell of each, by seed."""
        first = {training_of(cell): cell for cell in reversed(self.cells)}
        return tuple(sorted(first.values(), key=_by_seed))


def trained_models(cells: Iterable[CellResult]) -> list[TrainedModel]:
    """In the order in which they come first; each has a name of its own."""
    groups: dict[tuple[Any, ...], list[CellResult]] = {}
    for cell in cells:
        groups.setdefault(_identity(cell), []).append(cell)
    models = [TrainedModel(name=_plain_name(own), cells=tuple(own)) for own in groups.values()]
    return [_told_apart(model, models) for model in models]


def training_of(cell: CellResult) -> str:
    """Tells the trainings of one model apart: by their weights."""
    return cell.model.checkpoint_digest or cell.label


def spread(cells: Iterable[CellResult]) -> Spread | None:
    """Of cells of one model that were asked alike; None where none has a sample."""
    counts: dict[str, tuple[int, int]] = {}
    for cell in sorted(cells, key=_by_seed):
        if cell.metrics.n:
            correct, n = counts.get(training_of(cell), (0, 0))
            counts[training_of(cell)] = correct + cell.metrics.correct, n + cell.metrics.n
    if not counts:
        return None
    return Spread(accuracies=tuple(correct / n for correct, n in counts.values()))


def has_several_trainings(models: Iterable[TrainedModel]) -> bool:
    """Some model was trained more than once."""
    return any(len(model.trainings) > 1 for model in models)


def over_trainings(models: Iterable[TrainedModel]) -> list[CellResult]:
    """A cell for all trainings of a model that were asked alike, under the model's name.

    Its accuracy is their mean and its interval their range; a model of one training keeps its own.
    """
    merged: list[CellResult] = []
    for model in models:
        if len(model.trainings) == 1:
            merged += (replace(cell, label=model.name) for cell in model.cells)
            continue
        alike: dict[tuple[str, int, str], list[CellResult]] = {}
        for cell in model.cells:
            alike.setdefault((cell.asked.task_label, cell.asked.size, cell.way), []).append(cell)
        merged += [_merged(model.name, cells) for cells in alike.values()]
    return merged


def _merged(name: str, cells: Cells) -> CellResult:
    found = spread(cells)
    metrics = cells[0].metrics
    if found is not None:
        metrics = replace(
            metrics,
            n=sum(cell.metrics.n for cell in cells),
            correct=sum(cell.metrics.correct for cell in cells),
            accuracy=found.mean,
            ci95=(found.low, found.high),
        )
    return replace(cells[0], label=name, metrics=metrics)


def _identity(cell: CellResult) -> tuple[Any, ...]:
    model = cell.model
    # A recipe that was changed between two seeds makes another model.
    shape = (
        model.family,
        model.num_parameters,
        model.state_bytes,
        model.state_bytes_per_token,
        model.state_bits,
        model.cache_policy,
    )
    if (training := model.trained_by) is not None:
        return training.recipe, training.model, *shape
    # With a search and without one the same weights may have two endpoints.
    return cell.weights if model.checkpoint_digest else (cell.label,), *shape


def _by_seed(cell: CellResult) -> tuple[int, str]:
    training = cell.model.trained_by
    return (-1 if training is None else training.seed), cell.label


def _plain_name(cells: Cells) -> str:
    """What its recipe calls it, else the shortest name of an endpoint."""
    if (training := cells[0].model.trained_by) is not None:
        return training.model or training.recipe
    return min((cell.label for cell in cells), key=len)


def _policy(model: ModelDescription) -> str:
    return f"{model.state_bits} bits" if model.state_bits else model.cache_policy


# What two models of one name may differ in, the most telling first.
_DIFFERENCES: Final[tuple[Callable[[TrainedModel], str], ...]] = (
    lambda model: _policy(model.description),
    lambda model: state_text(
        model.description.state_bytes, model.description.state_bytes_per_token
    ).replace("\n", " "),
    lambda model: f"{count_text(model.description.num_parameters)} parameters",
    lambda model: model.description.trained_by.recipe if model.description.trained_by else "",
    lambda model: model.cells[0].label,
)


def _told_apart(model: TrainedModel, models: Sequence[TrainedModel]) -> TrainedModel:
    alike = [other for other in models if other.name == model.name]
    if len(alike) == 1:
        return model
    for told in _DIFFERENCES:
        if len({told(other) for other in alike}) == len(alike):
            said = told(model)
            return replace(model, name=f"{model.name}, {said}" if said else model.name)
    return replace(model, name=f"{model.name}, {model.cells[0].label}")
