"""What a report says below its tables: what was refused, not trained, or cannot work."""

from collections.abc import Iterable

from harness.reports.collect import ReportRun
from harness.reports.rows import UNTRAINED, number
from harness.runs.refused import refused_lines
from harness.runs.results import CellResult
from harness.tasks import TASKS


def refused_notes(runs: Iterable[ReportRun]) -> list[str]:
    """One line a reason and run."""
    return [
        f"run {run.number}: {line}" for run in runs for line in refused_lines(run.manifest.refused)
    ]


def untrained_notes(cells: Iterable[CellResult]) -> list[str]:
    """At most one line: what the mark beside an accuracy means, and whom it is about."""
    tasks: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.is_untrained:
            tasks.setdefault(cell.label, {})[cell.asked.task] = None
    told = "; ".join(f"{label}: {', '.join(names)}" for label, names in tasks.items())
    return [f"{UNTRAINED} not trained on it ({told})"] if told else []


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
