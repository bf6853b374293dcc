"""A recipe: everything that decides what a training run makes, read from a TOML file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harnessapi.values import TrainedBy

from harness.errors import HarnessError
from harness.tasks import find_task, make_task
from harness.way import Way


class RecipeError(ValueError):
    """The recipe is missing, malformed, or asks for something that does not exist."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ingredient:
    """One part of a mixture: a task at sizes, and the ways in which it is answered."""

    task: str
    ways: tuple[Way, ...]
    max_size: int
    min_size: int = 1
    # Parameters of the task besides its size.
    parameters: tuple[tuple[str, int], ...] = ()
    # Questions asked about one context, at most.
    max_questions: int = 1
    weight: float = 1.0
    # Contexts a step where they are long; the recipe's where it is not set, and at most that.
    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stretch of the training with one mixture.

    It ends after `max_steps`, or as soon as the running share of right completions reaches
    `until_accuracy`. `decay` lets the learning rate fall along a cosine to a hundredth.
    """

    max_steps: int
    mixture: tuple[Ingredient, ...]
    until_accuracy: float | None = None
    decay: bool = False
    # The recipe's where it is not set.
    learning_rate: float | None = None
    # So many layers at the top pass on what they get, unchanged and untrained, until a later stage
    # trains them too: what is easy for few layers is learnt by few.
    num_identity_layers: int = 0
    # The optimizer's moments begin anew, with a warm-up, as where only the weights were kept.
    forgets_moments: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is trained, on what, for how long, and what is measured afterwards."""

    path: Path
    model: dict[str, Any]
    stages: tuple[Stage, ...]
    # Arguments of `harness eval`, a line of the model card each; `{checkpoint}` in them is the
    # name of the folder.
    evaluations: tuple[str, ...]
    seed: int
    batch_size: int
    learning_rate: float
    warmup_steps: int = 100
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    # What the card should say of the run besides its figures.
    note: str = ""
    # Which of a recipe's models this is; None where it has one.
    variant: str | None = None

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """All tasks of its mixtures, in the order of their first stage."""
        parts = (part for stage in self.stages for part in stage.mixture)
        return tuple(dict.fromkeys(find_task(part.task).name for part in parts))

    @property
    def name(self) -> str:
        """The name of the checkpoint: the folder that the recipe lies in."""
        return self.path.resolve().parent.name

    @property
    def trained_by(self) -> TrainedBy:
        """What the card says of the training: of one recipe and model, only seeds differ."""
        return TrainedBy(recipe=self.name, model=self.variant or "", seed=self.seed)


def load_recipe(path: Path, variant: str | None = None) -> Recipe:
    """Reads a recipe; where it is one for several models, that of the model of this name.

    Raises RecipeError, naming the file and what is wrong with it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        raw["model"] = _choose_model(raw, variant)
        stages = tuple(_stage(stage) for stage in raw.pop("stage"))
        evaluations = tuple(raw.pop("evaluations", []))
        recipe = Recipe(path=path, stages=stages, evaluations=evaluations, variant=variant, **raw)
        model_type = recipe.model.get("model_type")
        is_plain_llama = model_type == "llama" and "cache_policy" not in recipe.model
        if not is_plain_llama and any(stage.num_identity_layers for stage in stages):
            raise RecipeError(
                f"num_identity_layers is for llama without a cache_policy, not for {model_type!r}"
            )
        for part in (part for stage in stages for part in stage.mixture):
            if part.batch_size is not None and not 1 <= part.batch_size <= recipe.batch_size:
                raise RecipeError(
                    f"batch_size {part.batch_size} of {part.task} is not from 1 to the recipe's "
                    f"{recipe.batch_size}"
                )
        return recipe
    except FileNotFoundError:
        raise RecipeError(f"no recipe at {path}") from None
    except KeyError as error:
        raise RecipeError(f"{path}: {error} is missing") from error
    except (HarnessError, OSError, TypeError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error


def _choose_model(raw: dict[str, Any], variant: str | None) -> dict[str, Any]:
    """Takes `models` out of a recipe that has several: they learn from the same batches."""
    models = raw.pop("models", None)
    if models is None:
        if variant is not None:
            raise ValueError(f"it has one model, none of the name {variant!r}")
        return dict(raw["model"])
    if "model" in raw:
        raise ValueError("it has model and models: it is one or the other")
    if variant not in models:
        said = "say which" if variant is None else f"none is {variant!r}"
        raise ValueError(f"it is for several models, {said}: {', '.join(models)}")
    return dict(models[variant])


def _stage(raw: dict[str, Any]) -> Stage:
    mixture = tuple(_ingredient(part) for part in raw.pop("mixture"))
    return Stage(mixture=mixture, **raw)


def _ingredient(raw: dict[str, Any]) -> Ingredient:
    parameters = tuple(sorted(raw.pop("parameters", {}).items()))
    ways = tuple(Way.parse(way) for way in raw.pop("ways"))
    ingredient = Ingredient(ways=ways, parameters=parameters, **raw)
    if ingredient.min_size > ingredient.max_size:
        raise RecipeError(f"min_size {ingredient.min_size} is over max_size {ingredient.max_size}")
    for size in (ingredient.min_size, ingredient.max_size):
        task = make_task(ingredient.task, size=size, **dict(parameters))
    for way in ways:
        if way not in task.ways():
            raise RecipeError(f"{task.name} is not answered by way of {way.name}")
    return ingredient
