"""How much of each task and way a training reads, computed from its recipe and its steps alone.

A step draws one ingredient by weight, and a way for every question at random: what is counted here
is expected of that, so it is about right, and the same for a training whose steps are long past.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from harnessapi.values import TrainedOn

from harness.sample import Split
from harness.tasks import find_task, make_task
from harness_training.recipe import Ingredient, Recipe


def trained_on(recipe: Recipe, num_steps: int) -> tuple[TrainedOn, ...]:
    """Contexts with at least one question of a task and way, after `num_steps` steps in all.

    Task by task, in the order of their first stage.
    """
    contexts: defaultdict[tuple[str, str], float] = defaultdict(float)
    for stage, length in zip(recipe.stages, stage_lengths(recipe, num_steps), strict=True):
        weight = sum(part.weight for part in stage.mixture)
        for part in stage.mixture:
            rows = length * part.weight / weight * (part.batch_size or recipe.batch_size)
            for way, share in _way_shares(part, recipe.seed).items():
                contexts[find_task(part.task).name, way] += rows * share
    return tuple(
        TrainedOn(task=task, way=way, contexts=round(count))
        for task in recipe.trained_tasks
        for (of_task, way), count in contexts.items()
        if of_task == task
    )


def budget_lines(budget: Sequence[TrainedOn]) -> str:
    """As the front matter of a model card has it: a line a task, the contexts of each way."""
    tasks = {one.task: [o for o in budget if o.task == one.task] for one in budget}
    lines = (
        f"  {task}: {{{', '.join(f'{one.way}: {one.contexts}' for one in own)}}}\n"
        for task, own in tasks.items()
    )
    return "".join(["trained_on:\n", *lines])


def stage_lengths(recipe: Recipe, num_steps: int) -> list[float]:
    """Steps of each stage, where all together took `num_steps`.

    Stages without `until_accuracy` take all their steps. What is left is shared out among the
    others by their `max_steps`, as nothing tells when they ended.
    """
    exact = sum(stage.max_steps for stage in recipe.stages if stage.until_accuracy is None)
    open_ended = sum(stage.max_steps for stage in recipe.stages) - exact
    share = min(1.0, max(0.0, (num_steps - exact) / open_ended)) if open_ended else 0.0
    return [
        stage.max_steps * (share if stage.until_accuracy is not None else 1.0)
        for stage in recipe.stages
    ]


def _way_shares(part: Ingredient, seed: int) -> dict[str, float]:
    """Of the contexts of this ingredient, the share with at least one question asked so."""
    asked = _question_counts(part, seed)
    return {
        name: sum(1 - (1 - count / len(part.ways)) ** questions for questions in asked) / len(asked)
        for name, count in Counter(way.name for way in part.ways).items()
    }


def _question_counts(part: Ingredient, seed: int) -> Sequence[int]:
    """Questions about a context, by size; how many there are is seen from a context of each."""
    if part.max_questions == 1:
        return [1]
    samples = (
        make_task(part.task, size=size, **dict(part.parameters)).sample(Split.TRAIN, seed, 0)
        for size in range(part.min_size, part.max_size + 1)
    )
    return [min(part.max_questions, len(sample.siblings())) for sample in samples]
