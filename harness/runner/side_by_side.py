"""Asks all cells of a session: those of one endpoint in turn, different endpoints side by side."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from harness.errors import EndpointLostError, IncompleteError, one_line
from harness.runner.budget import BudgetError
from harness.runner.cell_run import CellRefusedError, CellRun, Listener, run_cell
from harness.runner.sink import Sink


async def ask_cells(
    runs: Sequence[CellRun], sink: Sink, listener: Listener, *, num_local: int
) -> list[IncompleteError]:
    """What was left out, and why. Endpoints served here share its cores: `num_local` at once.

    Of an endpoint that is lost all further cells are left out; none is begun once the budget is
    spent. Raises what else goes wrong, with nothing under way any more.
    """
    by_endpoint: dict[str, list[CellRun]] = {}
    for run in runs:
        by_endpoint.setdefault(run.cell.endpoint, []).append(run)
    asking = _Turns(sink, listener, set(by_endpoint))
    here = asyncio.Semaphore(num_local)

    async def ask(name: str, cells: Sequence[CellRun]) -> list[IncompleteError]:
        is_local = cells[0].connection.endpoint.checkpoint is not None
        async with here if is_local else nullcontext():
            left_out = await asking.ask(cells)
        asking.unfinished.discard(name)
        return left_out

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask(*one)) for one in by_endpoint.items()]
    except ExceptionGroup as group_of_errors:
        # The first failure cancels the others; it alone is the reason.
        raise group_of_errors.exceptions[0] from None
    left_out = [one for task in tasks for one in task.result()]
    return left_out if asking.spent is None else [*left_out, asking.spent]


@dataclass(slots=True)
class _Turns:
    """What the endpoints of a session have in common."""

    sink: Sink
    listener: Listener
    # Endpoints by name.
    unfinished: set[str]
    spent: BudgetError | None = None

    async def ask(self, cells: Sequence[CellRun]) -> list[IncompleteError]:
        """All of one endpoint; what was left out."""
        left_out: list[IncompleteError] = []
        for number, run in enumerate(cells, start=1):
            if self.spent is not None:
                break
            name = run.cell.endpoint
            try:
                await run_cell(run, self.sink, self.listener)
            except EndpointLostError as error:
                if self.unfinished - {name}:
                    told = f"going on without {name}: {one_line(error)}"
                    self.listener.say(told, is_warning=True)
                return [*left_out, error]
            except CellRefusedError as error:
                left_out.append(error)
                if number < len(cells) or self.unfinished - {name}:
                    told = f"going on with the next: {one_line(error)}"
                    self.listener.say(told, is_warning=True)
            except BudgetError as error:
                self.spent = self.spent or error
        return left_out
