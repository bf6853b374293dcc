"""What a report says below its tables: cells that were refused, searches that cannot work."""

from collections.abc import Iterable

from harness.reports.collect import ReportRun
from harness.runs.refused import refused_lines
from harness.runs.results import CellResult
from harness.tasks import TASKS


def refused_notes(runs: Iterable[ReportRun]) -> list[str]:
    """One line a reason and run."""
    return [
        f"run {run.number}: {line}" for run in runs for line in refused_lines(run.manifest.refused)
    ]


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
