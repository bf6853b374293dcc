"""From the options of `harness eval` to a session: all checks that need no server."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

import click
from click.core import ParameterSource

from harness.cli.dependencies import Dependencies, read_endpoints
from harness.cli.task_parameters import read_parameters, with_balance
from harness.cluster.ray_library import RayExecutor
from harness.endpoints.config import (
    EndpointFile,
    require_api_keys,
    require_checkpoints,
    require_prices,
)
from harness.endpoints.request_options import parse_request_options, read_request_options
from harness.errors import InputError
from harness.runner.plan import plan_cells
from harness.runner.resumption import as_begun, resume_refused, source_differences
from harness.runner.session import SessionPlan
from harness.runs.manifest import Manifest, read_manifest
from harness.runs.run_limits import Limits, parse_stop_rule
from harness.runs.run_options import RunOptions, option_differences
from harness.runs.shard import Shard
from harness.runs.spent import SoFar
from harness.runs.store import RunStore, create_run, find_run
from harness.runs.stored_samples import require_asked
from harness.runs.summary import summarize
from harness.tasks.choosing import choose_tasks
from harness.tasks.elsewhere import require_same_elsewhere
from harness.tasks.foreign import TaskSource
from harness.way import Prompting, Reading, SearchArm, Style


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalOptions:
    """The options as the command line gives them, by their names there; None: not given."""

    endpoint: tuple[str, ...] | None
    task: tuple[str, ...] | None
    size: tuple[int, ...] | None
    parameter: tuple[str, ...]
    request: tuple[str, ...]
    samples: int
    seed: int
    prompting: tuple[str, ...] | None
    style: str | None
    retrieval: str | None
    reading: tuple[str, ...]
    filler: tuple[int, ...]
    search: tuple[str, ...]
    examples: int
    concurrency: int
    max_new_tokens: int | None
    deadline: float
    repeats: int
    log_probs: int | None
    requests_per_minute: float | None
    max_tokens_total: int | None
    max_cost: float | None
    stop_when: str | None
    shard: Shard | None
    parallel_endpoints: int
    executor: RayExecutor | None
    workers: int | None
    out: Path
    resume: str | None
    as_json: bool
    quiet: bool
    endpoints_file: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedRun:
    """What is left to do and the open store of the run; no store: it is complete already."""

    session: SessionPlan
    folder: Path
    store: RunStore | None


def prepare(ctx: click.Context, options: EvalOptions, given: Dependencies) -> PreparedRun:
    """Raises InputError or click.UsageError for whatever is wrong; nothing is started or lost."""
    file = read_endpoints(options.endpoints_file)
    if options.resume:
        return _resume(ctx, options, file, given, find_run(options.resume, options.out))
    for name in ("endpoint", "task"):
        if not getattr(options, name):
            raise click.UsageError(f"--{name} is needed (or --resume RUN)", ctx)
    limits = _limits(options, Limits())
    session = _session_plan(options, _run_options(options, file), file, given, limits)
    store = create_run(options.out)
    return PreparedRun(session=session, folder=store.folder, store=store)


def _resume(
    ctx: click.Context, options: EvalOptions, file: EndpointFile, given: Dependencies, folder: Path
) -> PreparedRun:
    manifest = read_manifest(folder)
    limits = _limits(options, manifest.limits)
    sources = _require_options_of(manifest, ctx, options, file)
    stored = replace(manifest.options, task_source=sources)
    session = _session_plan(options, stored, file, given, limits)
    store = RunStore(folder)
    for line in store.mended:
        click.echo(line, err=True)
    so_far = None
    if limits == Limits():
        require_asked(folder, manifest, store.done)
        is_complete = len(store.done) == manifest.num_samples
    else:
        so_far = SoFar(manifest)
        is_complete = summarize(folder, so_far.add, limits=limits).is_complete
    if is_complete:
        store.close()
    return PreparedRun(
        session=replace(
            session,
            manifest=manifest,
            so_far=so_far,
            max_tokens_total=_tokens_of_run(options, limits, so_far),
            may_lift_tokens=options.max_tokens_total is None,
            endpoints=tuple(as_begun(one, manifest) for one in session.endpoints),
        ),
        folder=folder,
        store=None if is_complete else store,
    )


def _require_options_of(
    manifest: Manifest, ctx: click.Context, options: EvalOptions, file: EndpointFile
) -> dict[str, TaskSource]:
    """Where the tasks of the run are now that are not ours.

    Raises InputError where the command names options that the run does not have, and where a task
    is gone or is another one.
    """
    named = {
        field.name
        for field in fields(RunOptions)
        if ctx.get_parameter_source(field.name) is ParameterSource.COMMANDLINE
    }
    stored = manifest.options
    asked = replace(
        options,
        endpoint=options.endpoint or stored.endpoint,
        task=options.task or tuple(map(stored.task_spec, stored.task)),
    )
    try:
        now = _run_options(asked, file, stored)
    except InputError as error:
        raise InputError(f"run {manifest.run} cannot be resumed like this: {error}") from None
    differences = option_differences(stored, now, named)
    differences += source_differences(stored.task_source, now.task_source)
    if differences:
        raise resume_refused(manifest.run, differences)
    return now.task_source


def _limits(options: EvalOptions, stored: Limits) -> Limits:
    """Those of the command, and where it says nothing the run's. Raises InputError."""
    if options.max_cost is not None and not math.isfinite(options.max_cost):
        raise InputError(f"--max-cost {options.max_cost}: it has to be a number")
    rule = stored.rule if options.stop_when is None else parse_stop_rule(options.stop_when)
    return Limits(
        max_tokens_total=options.max_tokens_total or stored.max_tokens_total,
        max_cost=options.max_cost or stored.max_cost,
        stop_when=None if rule is None else str(rule),
    )


def _tokens_of_run(options: EvalOptions, limits: Limits, so_far: SoFar | None) -> int | None:
    """What a command names is what it may take itself."""
    if options.max_tokens_total is None or so_far is None:
        return limits.max_tokens_total
    return so_far.spent({}).tokens + options.max_tokens_total


def _session_plan(
    options: EvalOptions,
    run_options: RunOptions,
    file: EndpointFile,
    given: Dependencies,
    limits: Limits,
) -> SessionPlan:
    request = parse_request_options(run_options.request)
    endpoints = tuple(one.with_request(request) for one in file.select(run_options.endpoint))
    plan_cells(run_options, endpoints, models={})
    require_checkpoints(endpoints)
    require_api_keys(endpoints)
    if limits.max_cost is not None:
        require_prices(endpoints)
    if run_options.shard is not None and limits.rule is not None:
        raise InputError(
            f"--stop-when {limits.rule} is of all samples of a cell in turn, and "
            f"--shard {run_options.shard} asks some of them"
        )
    return SessionPlan(
        options=run_options,
        endpoints=endpoints,
        concurrency=options.concurrency,
        deadline_s=options.deadline,
        model_server=given.model_server,
        connect_timeout_s=given.connect_timeout_s,
        requests_per_minute=options.requests_per_minute,
        max_tokens_total=limits.max_tokens_total,
        max_cost=limits.max_cost,
        stop_when=limits.rule,
        parallel_endpoints=options.parallel_endpoints,
    )


def _run_options(
    options: EvalOptions, file: EndpointFile, stored: RunOptions | None = None
) -> RunOptions:
    """Those that decide what is asked, `all` replaced by names; `stored`: of a run that goes on."""
    tasks = choose_tasks(options.task or ())
    for source in tasks.sources.values():
        require_same_elsewhere(source.spec)
    promptings = options.prompting
    return RunOptions(
        endpoint=tuple(endpoint.name for endpoint in file.select(options.endpoint or ())),
        task=tasks.names,
        size=options.size,
        samples=options.samples,
        seed=options.seed,
        prompting=None if promptings is None else tuple(map(Prompting, promptings)),
        style=None if options.style is None else Style(options.style),
        retrieval=options.retrieval,
        max_new_tokens=options.max_new_tokens,
        examples=options.examples,
        repeats=options.repeats,
        distinct=True if stored is None else stored.distinct,
        log_probs=options.log_probs,
        parameter=with_balance(
            read_parameters(options.parameter, tasks.kinds),
            tasks.kinds,
            None if stored is None else stored.parameter,
        ),
        task_source=tasks.sources,
        request=read_request_options(options.request).given(),
        reading=tuple(map(Reading, options.reading)),
        filler=options.filler,
        search=tuple(map(SearchArm, options.search)),
        shard=options.shard,
    )
