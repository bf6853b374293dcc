"""One session of work on a run, new or resumed: connect, plan, check, ask what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from harness.clients.clock import Clock
from harness.clients.connection import Connection
from harness.clients.context_room import ContextRoom
from harness.clients.pace import FIRST_LIMIT, Pace
from harness.clients.replica import Replica
from harness.endpoints.endpoint import Endpoint
from harness.errors import (
    EndpointLostError,
    IncompleteError,
    InputError,
    UnreachableError,
    one_line,
)
from harness.fleet.fleet import Opened, all_failed, open_fleet
from harness.fleet.plans import Program
from harness.runner.budget import Budget
from harness.runner.cell_run import CellRun, Listener
from harness.runner.first_prompt import check_prompt
from harness.runner.plan import plan_cells
from harness.runner.resumption import manifest_changes, spending_changes
from harness.runner.search_checks import SearchChecks
from harness.runner.side_by_side import ask_cells
from harness.runner.sink import Sink
from harness.runs.cell import Cell
from harness.runs.manifest import EndpointRecord, Manifest, Session
from harness.runs.refused import Refused, nothing_left, refused_lines
from harness.runs.run_limits import Limits, StopRule
from harness.runs.run_options import RunOptions
from harness.runs.spent import CellTally, SoFar
from harness.sample import Sample
from harness.scoring.sequential import least_samples
from harness.tasks import build_task
from harness.tasks.distinct import asked_indices
from harness.tasks.natural import worked_examples
from harness.tasks.task import Task
from harness.version import versions
from harness.way import Style


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionPlan:
    """What a session is to do. `manifest` is None for a new run."""

    options: RunOptions
    endpoints: tuple[Endpoint, ...]
    concurrency: int
    deadline_s: float
    model_server: Program
    connect_timeout_s: float
    manifest: Manifest | None = None
    # Of each endpoint.
    requests_per_minute: float | None = None
    # Of the run.
    max_tokens_total: int | None = None
    max_cost: float | None = None
    stop_when: StopRule | None = None
    # The limit of tokens is of an earlier session: where they are spent it does not hold any more.
    may_lift_tokens: bool = False
    # Of a run that goes on under limits, what is stored.
    so_far: SoFar | None = None
    # So many of those that are served here are asked at once.
    parallel_endpoints: int = 1
    clock: Clock = field(default_factory=Clock)

    @property
    def limits(self) -> Limits:
        """As they are stored."""
        return Limits(
            max_tokens_total=self.max_tokens_total,
            max_cost=self.max_cost,
            stop_when=None if self.stop_when is None else str(self.stop_when),
        )


async def run_session(plan: SessionPlan, store: Sink, listener: Listener) -> None:
    """Returns when every sample is stored, or errored.

    An endpoint that is not there, or is lost, is left out, and so is a cell whose requests are
    refused one after the other: IncompleteError names them at the end. So it is where the budget
    is spent.
    Raises InputError or UnreachableError where nothing can be asked; what was stored before stays.
    """
    session = Session(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        concurrency=plan.concurrency,
        deadline_s=plan.deadline_s,
    )
    async with open_fleet(
        plan.endpoints,
        listener.say,
        model_server=plan.model_server,
        connect_timeout_s=plan.connect_timeout_s,
    ) as found:
        if not found.connections:
            raise all_failed(found.failures.values())
        opened = _paced(plan, found, listener)
        models = {name: connection.model for name, connection in opened.connections.items()}
        grid = plan_cells(plan.options, plan.endpoints, models)
        listener.say("warming up: the servers read the prompts")
        budget = _budget(plan, listener)
        runs, unread = await _read_prompts(plan, grid.cells, opened, budget, listener)
        refused = (*grid.refused, *unread)
        bounded = _bounded_lines(grid.cells, plan.options.samples)
        told = (*bounded, *_untrained_lines(runs), *_unreachable_lines(plan))
        for line in (*refused_lines(refused), *told):
            listener.say(line, is_warning=True)
        manifest = _manifest(plan, store.run, runs, refused, opened.connections.values())
        changes = None
        if plan.manifest is not None:
            changes = manifest_changes(plan.manifest, manifest)
            changes = spending_changes(plan.manifest, manifest, changes)
        store.begin(replace(manifest, sessions=(session,)), changes)
        with SearchChecks(partial(listener.say, is_warning=True)) as checks:
            checked = [replace(run, search_checks=checks) for run in runs]
            lost = await ask_cells(checked, store, listener, num_local=plan.parallel_endpoints)
        for connection in opened.connections.values():
            _say_pace(connection, listener)
    left_out = [*refused_lines(one for one in refused if one.is_away), *map(str, lost)]
    if left_out:
        raise IncompleteError("\n".join(left_out))


async def _read_prompts(
    plan: SessionPlan, cells: Iterable[Cell], opened: Opened, budget: Budget, listener: Listener
) -> tuple[list[CellRun], list[Refused]]:
    """The cells whose first prompt the servers take. Raises an error where they take none.

    Where an endpoint is away, or does not answer to one of them, all of its cells are left out.
    """
    runs: list[CellRun] = []
    refused: list[Refused] = []
    for name, group in groupby(cells, key=lambda cell: cell.endpoint):
        asked = list(group)
        try:
            if name in opened.failures:
                raise UnreachableError(one_line(opened.failures[name]))
            found = [_cell_run(plan, cell, opened.connections[name], budget) for cell in asked]
            refusals = [await _refusal(run, listener) for run in found]
        except (UnreachableError, EndpointLostError) as error:
            refused += [Refused.planned(cell, one_line(error), is_away=True) for cell in asked]
            continue
        for run, refusal in zip(found, refusals, strict=True):
            if refusal is None:
                runs.append(run)
            else:
                refused.append(Refused.planned(run.cell, str(refusal)))
    if not runs:
        raise nothing_left(refused)
    return runs, refused


async def _refusal(run: CellRun, listener: Listener) -> InputError | None:
    try:
        await check_prompt(run, listener)
    except InputError as error:
        return error
    return None


def _bounded_lines(cells: Iterable[Cell], num_samples: int) -> list[str]:
    """One line a task and size that has fewer different samples than are asked for."""
    return list(
        dict.fromkeys(
            f"{cell.task_label} at size {cell.size} has few different samples: {cell.samples} are "
            f"asked in the place of {num_samples}, each once"
            for cell in cells
            if cell.samples is not None
        )
    )


def _unreachable_lines(plan: SessionPlan) -> list[str]:
    """One line where no cell has samples enough for what --stop-when waits for, or none."""
    rule, most = plan.stop_when, plan.options.samples
    if rule is None or (least := least_samples(rule.width)) <= most:
        return []
    return [
        f"--stop-when {rule}: no {most:,} samples (--samples) make an interval that narrow; "
        f"{least:,} at least do, all of them right or all wrong"
    ]


def _budget(plan: SessionPlan, listener: Listener) -> Budget:
    prices = {endpoint.name: endpoint.prices for endpoint in plan.endpoints}
    return Budget(
        plan.limits,
        None if plan.so_far is None else plan.so_far.spent(prices),
        may_lift=plan.may_lift_tokens,
        say=partial(listener.say, is_warning=True),
    )


def _untrained_lines(runs: Iterable[CellRun]) -> list[str]:
    """One line of what is asked of models that were not trained on it, or none."""
    untrained: dict[str, dict[str, None]] = {}
    for run in runs:
        if run.cell.is_trained(run.connection.model) is False:
            untrained.setdefault(run.cell.endpoint, {})[run.cell.task] = None
    told = "; ".join(f"{name}: {', '.join(tasks)}" for name, tasks in untrained.items())
    return [f"asked what they were not trained on: {told}"] if told else []


def _paced(plan: SessionPlan, opened: Opened, listener: Listener) -> Opened:
    """The connections with what this session lets them be asked."""
    return replace(
        opened,
        connections={
            name: _paced_connection(plan, connection, listener)
            for name, connection in opened.connections.items()
        },
    )


def _paced_connection(plan: SessionPlan, connection: Connection, listener: Listener) -> Connection:
    endpoint = connection.endpoint
    # What is said of an endpoint holds for all of its addresses.
    num_addresses = len(connection.replicas.all)
    a_minute = plan.requests_per_minute and plan.requests_per_minute / num_addresses

    def say(text: str) -> None:
        listener.say(f"endpoint '{endpoint.name}': {text}", is_warning=True)

    def prepare(replica: Replica) -> None:
        def tell(text: str) -> None:
            say(f"{replica.address}: {text}" if replica.address else text)

        replica.client.say = tell
        replica.pace = Pace(
            ceiling=plan.concurrency,
            # Ours say that they are full, and have room for many.
            first=None if endpoint.is_ours else FIRST_LIMIT,
            requests_per_minute=a_minute,
            clock=plan.clock,
            say=tell,
        )

    connection.replicas.prepare(prepare)
    # Ours end a completion where their context does.
    limit = None if endpoint.is_ours else connection.model.context_limit
    return replace(connection, room=ContextRoom(limit, say))


def _say_pace(connection: Connection, listener: Listener) -> None:
    for replica in connection.replicas.all:
        pace = replica.pace
        where = f", {replica.address}" if replica.address else ""
        if pace.is_slowed:
            listener.say(
                f"endpoint '{connection.endpoint.name}'{where}: {pace.num_requests} requests, "
                f"{pace.num_turned_away} of them turned away; at most {pace.most_at_once} at once, "
                f"{int(pace.limit)} at the end"
            )


def _cell_run(plan: SessionPlan, cell: Cell, connection: Connection, budget: Budget) -> CellRun:
    indices = _indices(plan.options, cell)
    return CellRun(
        cell=cell,
        task=_task(plan.options, cell),
        connection=connection,
        first_index=indices[0],
        indices=indices if plan.options.shard is None else plan.options.shard.among(indices),
        seed=plan.options.seed,
        concurrency=plan.concurrency,
        deadline_s=plan.deadline_s,
        examples=_examples(plan.options, cell),
        repeats=plan.options.repeats,
        top_log_probs=plan.options.log_probs,
        budget=budget,
        stop_when=None if cell.samples is not None else plan.stop_when,
        tally=_tally(plan, cell),
    )


def _tally(plan: SessionPlan, cell: Cell) -> CellTally:
    """Of the stored samples."""
    stored = {} if plan.so_far is None else plan.so_far.tallies
    return stored.get(cell.key, CellTally())


def _examples(options: RunOptions, cell: Cell) -> tuple[Sample, ...]:
    if cell.style is not Style.NATURAL:
        return ()
    return worked_examples(_task(options, cell), options.seed, options.examples)


def _indices(options: RunOptions, cell: Cell) -> Sequence[int]:
    """Of the undivided run, at least one."""
    if cell.samples is None:
        return range(options.samples)
    return asked_indices(_task(options, cell), options.seed, options.samples)


def _task(options: RunOptions, cell: Cell) -> Task:
    """At the cell's size, with its parameters."""
    return build_task(options.task_kind(cell.task), size=cell.size, **cell.parameters)


def _manifest(
    plan: SessionPlan,
    run: str,
    runs: Sequence[CellRun],
    refused: tuple[Refused, ...],
    connections: Iterable[Connection],
) -> Manifest:
    """Of the endpoints that are there; those that are away are in `refused` alone."""
    away = {one.endpoint for one in refused if one.is_away}
    return Manifest(
        run=run,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        options=plan.options,
        limits=plan.limits,
        endpoints=tuple(
            EndpointRecord(
                name=connection.endpoint.name,
                place=connection.endpoint.place,
                retrieval=connection.endpoint.retrieval,
                model=connection.model,
                api=connection.endpoint.api_for(connection.model),
                request=connection.endpoint.request.given(),
                prices=connection.endpoint.prices,
            )
            for connection in connections
            if connection.endpoint.name not in away
        ),
        cells=tuple(each.cell for each in runs),
        refused=refused,
        examples={
            each.cell.key: tuple(example.address.key for example in each.examples)
            for each in runs
            if each.cell.style is Style.NATURAL
        },
        sessions=(),
    )
