"""One session of work on a run, new or resumed: connect, plan, check, ask what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from harness.clients.connection import Connection
from harness.endpoints.config import Endpoint
from harness.errors import InputError
from harness.fleet.fleet import open_fleet
from harness.fleet.plans import Program
from harness.runner.cell_run import CellRun, check_prompt, run_cell
from harness.runner.listener import Listener
from harness.runner.plan import plan_cells
from harness.runs.cell import Cell
from harness.runs.manifest import (
    EndpointRecord,
    Manifest,
    Session,
    add_session,
    write_manifest,
)
from harness.runs.refused import Refused, nothing_left, refused_lines
from harness.runs.run_options import RunOptions
from harness.runs.store import RunStore
from harness.sample import Sample
from harness.tasks import make_task
from harness.tasks.natural import worked_examples
from harness.version import versions
from harness.way import Style

_DIGESTS: Final = ("checkpoint_digest", "tokenizer_digest")
# What there is to compare of a server that has no digests.
_NAMES: Final = ("name", "engine")


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a session is to do. `manifest` is None for a new run."""

    options: RunOptions
    endpoints: tuple[Endpoint, ...]
    concurrency: int
    deadline_s: float
    model_server: Program
    connect_timeout_s: float
    manifest: Manifest | None = None


async def work_on(work: Work, store: RunStore, listener: Listener) -> None:
    """Returns when every sample is stored, or errored.

    Raises InputError, UnreachableError or IncompleteError; what was stored before stays.
    """
    session = Session(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        concurrency=work.concurrency,
        deadline_s=work.deadline_s,
    )
    async with open_fleet(
        work.endpoints,
        listener.say,
        model_server=work.model_server,
        connect_timeout_s=work.connect_timeout_s,
    ) as connections:
        models = {name: connection.model for name, connection in connections.items()}
        plan = plan_cells(work.options, work.endpoints, models)
        planned = [_cell_run(work, cell, connections[cell.endpoint]) for cell in plan.cells]
        listener.say("warming up: the servers read the prompts")
        runs, unread = await _read_prompts(planned, listener)
        refused = (*plan.refused, *unread)
        for line in refused_lines(refused):
            listener.say(line)
        manifest = _manifest(work, store.run, runs, refused, connections.values())
        if work.manifest is None:
            write_manifest(store.folder, replace(manifest, sessions=(session,)))
        else:
            refuse_differences(work.manifest, manifest)
            add_session(store.folder, session)
        for run in runs:
            await run_cell(run, store, listener)


async def _read_prompts(
    planned: Sequence[CellRun], listener: Listener
) -> tuple[list[CellRun], list[Refused]]:
    """The cells whose first prompt the servers take. Raises InputError where they take none."""
    runs: list[CellRun] = []
    refused: list[Refused] = []
    for run in planned:
        cell = run.cell
        try:
            await check_prompt(run, listener)
            runs.append(run)
        except InputError as error:
            refused.append(
                Refused(
                    endpoint=cell.endpoint,
                    task=cell.task,
                    size=cell.size,
                    prompting=cell.prompting,
                    reason=str(error),
                )
            )
    if not runs:
        raise nothing_left(refused)
    return runs, refused


def refuse_differences(stored: Manifest, planned: Manifest) -> None:
    """Raises InputError listing what is no longer what the run began with."""
    differences = _model_differences(stored.endpoints, planned.endpoints)
    was, now = ({cell.key: cell for cell in m.cells} for m in (stored, planned))
    differences += [f"cell {key}: only in the run" for key in was.keys() - now.keys()]
    differences += [f"cell {key}: not in the run" for key in now.keys() - was.keys()]
    differences += [
        f"cell {key}: the run has max_new_tokens {was[key].max_new_tokens}, "
        f"now it would be {now[key].max_new_tokens}"
        for key in was.keys() & now.keys()
        if was[key] != now[key]
    ]
    if differences:
        raise resume_refused(stored.run, differences)


def resume_refused(run: str, differences: Sequence[str]) -> InputError:
    """The error that lists why a run cannot go on."""
    lines = "\n".join(f"  {line}" for line in sorted(differences))
    return InputError(f"run {run} cannot be resumed like this; what differs:\n{lines}")


def _model_differences(
    stored: Sequence[EndpointRecord], planned: Sequence[EndpointRecord]
) -> list[str]:
    was: Mapping[str, EndpointRecord] = {record.name: record for record in stored}
    return [
        f"endpoint {record.name}, {key}: the run has {before}, now it is {after}"
        for record in planned
        for key in (*_DIGESTS, *(() if record.model.checkpoint_digest else _NAMES))
        if record.name in was
        and (before := getattr(was[record.name].model, key))
        != (after := getattr(record.model, key))
    ]


def _cell_run(work: Work, cell: Cell, connection: Connection) -> CellRun:
    return CellRun(
        cell=cell,
        connection=connection,
        num_samples=work.options.samples,
        seed=work.options.seed,
        concurrency=work.concurrency,
        deadline_s=work.deadline_s,
        examples=_examples(work.options, cell),
    )


def _examples(options: RunOptions, cell: Cell) -> tuple[Sample, ...]:
    if cell.style is not Style.NATURAL:
        return ()
    task = make_task(cell.task, size=cell.size, **cell.parameters)
    return worked_examples(task, options.seed, options.examples)


def _manifest(
    work: Work,
    run: str,
    runs: Sequence[CellRun],
    refused: tuple[Refused, ...],
    connections: Iterable[Connection],
) -> Manifest:
    return Manifest(
        run=run,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        options=work.options,
        endpoints=tuple(
            EndpointRecord(
                name=connection.endpoint.name,
                place=connection.endpoint.place,
                retrieval=connection.endpoint.retrieval,
                model=connection.model,
            )
            for connection in connections
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
