"""What a report says below its tables: what was refused, not trained, or cannot work."""

from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Final

from harness.reports.collect import ReportRun
from harness.reports.rows import UNTRAINED, number
from harness.runs.refused import refused_lines
from harness.runs.results import CellResult
from harness.runs.summary import RunResult
from harness.tasks import TASKS

# A budget below this share of another explains a difference by itself.
_SMALL_SHARE: Final = 0.1


def refused_notes(runs: Iterable[ReportRun]) -> list[str]:
    """One line a reason and run."""
    return [
        f"run {run.number}: {line}" for run in runs for line in refused_lines(run.manifest.refused)
    ]


def spent_note(result: RunResult) -> str | None:
    """What a run took of what it may take; None where it may take anything."""
    limits, told = result.limits, []
    if limits.max_tokens_total is not None:
        told.append(f"{result.tokens_spent:,} of {limits.max_tokens_total:,} tokens")
    if limits.max_cost is not None and result.cost is not None:
        told.append(f"{result.cost:,.4g} of a cost of {limits.max_cost:,.4g}")
    return f"spent {', '.join(told)}" if told else None


def untrained_notes(cells: Iterable[CellResult]) -> list[str]:
    """At most one line: what the mark beside an accuracy means, and whom it is about."""
    tasks: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.is_untrained:
            tasks.setdefault(cell.label, {})[cell.asked.task] = None
    told = "; ".join(f"{label}: {', '.join(names)}" for label, names in tasks.items())
    return [f"{UNTRAINED} not trained on it ({told})"] if told else []


def search_notes(cells: Iterable[CellResult]) -> list[str]:
    """A line a cell whose server inserted what a search of our own does not find."""
    return [
        f"{cell.label}: {cell.asked.task_label} size {cell.asked.size}, {cell.way}: "
        f"{cell.metrics.search_disagreements or 0} searches inserted something else than ours "
        f"find in the same text, {cell.metrics.searches_unchecked or 0} were not checked"
        for cell in cells
        if cell.metrics.search_disagreements or cell.metrics.searches_unchecked
    ]


def budget_notes(cells: Iterable[CellResult]) -> list[str]:
    """A line for each task of which an arm saw under a tenth of what one that did better saw.

    Cells of one experiment alone: what a lying search does to an accuracy is not of training.
    """
    asked: dict[tuple[str, int, tuple[str, ...]], list[CellResult]] = {}
    for cell in cells:
        # What was trained on nothing of the task at all is marked as such.
        if cell.trained_on is not None and cell.metrics.n and not cell.is_untrained:
            key = (cell.asked.task_label, cell.asked.size, cell.asked.way.arms)
            asked.setdefault(key, []).append(cell)
    tasks: dict[str, tuple[dict[str, int], dict[str, int]]] = {}
    for arms in asked.values():
        for less, more in permutations(arms, 2):
            if _explains_itself(less, more):
                few, many = tasks.setdefault(less.asked.task, ({}, {}))
                few[_arm(less)], many[_arm(more)] = less.trained_on or 0, more.trained_on or 0
    return [
        f"contexts of {task} in training: {_listed(few)}, and {_listed(many)}: what sets these "
        "apart may be training alone, and says little of the architecture or of the way"
        for task, (few, many) in tasks.items()
    ]


def _explains_itself(less: CellResult, more: CellResult) -> bool:
    """By the budgets: the better one has had ten times as much."""
    is_better = (more.metrics.accuracy or 0.0) > (less.metrics.accuracy or 0.0)
    return is_better and (less.trained_on or 0) < _SMALL_SHARE * (more.trained_on or 0)


def _arm(cell: CellResult) -> str:
    return f"{cell.label} by {cell.way}"


def _listed(contexts: Mapping[str, int]) -> str:
    return ", ".join(f"{arm} about {count:,}" for arm, count in contexts.items())


def guess_figures(cells: Iterable[CellResult]) -> list[list[str]]:
    """A list a task: what its accuracies are held against, at each size."""
    figures: dict[str, dict[str, None]] = {}
    for cell in cells:
        found = (number(value, 3) for value in (cell.metrics.majority_rate, cell.chance))
        told = f"{'/'.join(found)} at {cell.asked.size}"
        figures.setdefault(cell.asked.task_label, {})[told] = None
    return [
        [f"majority/chance{f' of {task}' if len(figures) > 1 else ''}: {first}", *others]
        for task, (first, *others) in figures.items()
    ]


def chance_notes(cells: Iterable[CellResult]) -> list[str]:
    """A line a task: which guess its chance is of, and how it is known."""
    tasks = dict.fromkeys(cell.asked.task for cell in cells)
    return [f"chance of {task}: {TASKS[task].guess}" for task in tasks if task in TASKS]


def impossible_notes(cells: Iterable[CellResult]) -> list[str]:
    """For each kind of search that cannot find a task's answer, why; asked all the same."""
    asked = dict.fromkeys((cell.asked.task, cell.asked.retrieval) for cell in cells)
    return [
        f"{task} with {mode} search cannot be answered by what is found: {reason}"
        for task, mode in asked
        if mode is not None
        and task in TASKS
        and (reason := TASKS[task].impossible.get(mode)) is not None
    ]
