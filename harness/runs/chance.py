"""What the best simple guess reaches at a cell's task and size, as this version knows the task."""

from functools import lru_cache

from harness.errors import InputError
from harness.runs.cell import Cell
from harness.tasks import TASKS, build_task


# Asked again for each row of an export.
@lru_cache(maxsize=1_000)
def chance_of(asked: Cell, size: int) -> float | None:
    """At the parameters of the cell; None for a task or a size that is not known here.

    Other people's tasks are not: no report runs their code.
    """
    if asked.task not in TASKS:
        return None
    try:
        return build_task(TASKS[asked.task], size=size, **asked.parameters).chance
    except InputError:
        # A run of another version.
        return None
