"""From the options of `harness eval` to the work: all checks that need no server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from harness.cli.dependencies import Dependencies, read_endpoints
from harness.cli.task_parameters import read_parameters
from harness.endpoints.config import EndpointFile, require_api_keys, require_checkpoints
from harness.runner.plan import plan_cells, select_tasks
from harness.runner.session import Work, resume_refused
from harness.runs.manifest import read_manifest
from harness.runs.run_options import RunOptions, option_differences
from harness.runs.store import RunStore, create_run, find_run
from harness.runs.summary import summarize
from harness.way import Prompting, Style

_RUN_OPTIONS: Final = tuple(RunOptions.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalTask:
    """The work and its open store; no store: the run is complete already."""

    work: Work
    folder: Path
    store: RunStore | None


def prepare(ctx: click.Context, options: Mapping[str, Any], given: Dependencies) -> EvalTask:
    """Raises InputError or click.UsageError for whatever is wrong; nothing is started or lost."""
    file = read_endpoints(options["endpoints_file"])
    if options["resume"]:
        return _resume(ctx, options, file, given)
    for name in ("endpoint", "task"):
        if not options[name]:
            raise click.UsageError(f"--{name} is needed (or --resume RUN)", ctx)
    tasks = select_tasks(options["task"])
    parsed = {name: _parse(name, options[name], file, tasks) for name in _RUN_OPTIONS}
    run_options = RunOptions(**parsed)
    work = _work(options, run_options, file, given)
    store = create_run(options["out"])
    return EvalTask(work=work, folder=store.folder, store=store)


def _resume(
    ctx: click.Context, options: Mapping[str, Any], file: EndpointFile, given: Dependencies
) -> EvalTask:
    folder = find_run(options["resume"], options["out"])
    manifest = read_manifest(folder)
    tasks = select_tasks(options["task"]) if options["task"] else manifest.options.task
    named = {
        name: _parse(name, options[name], file, tasks)
        for name in _RUN_OPTIONS
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    differences = option_differences(
        manifest.options, replace(manifest.options, **named), set(named)
    )
    if differences:
        raise resume_refused(manifest.run, differences)
    work = replace(_work(options, manifest.options, file, given), manifest=manifest)
    store = RunStore(folder)
    if summarize(folder).is_complete:
        store.close()
        return EvalTask(work=work, folder=folder, store=None)
    return EvalTask(work=work, folder=folder, store=store)


def _work(
    options: Mapping[str, Any], run_options: RunOptions, file: EndpointFile, given: Dependencies
) -> Work:
    endpoints = file.select(run_options.endpoint)
    plan_cells(run_options, endpoints, models={})
    require_checkpoints(endpoints)
    require_api_keys(endpoints)
    return Work(
        options=run_options,
        endpoints=endpoints,
        concurrency=options["concurrency"],
        deadline_s=options["deadline"],
        model_server=given.model_server,
        connect_timeout_s=given.connect_timeout_s,
    )


def _parse(name: str, value: Any, file: EndpointFile, tasks: Sequence[str]) -> Any:
    """The value of one option as RunOptions has it; `tasks` are those that are asked."""
    if value is None:
        return None
    if name == "endpoint":
        return tuple(endpoint.name for endpoint in file.select(value))
    if name == "task":
        return tasks
    if name == "parameter":
        return read_parameters(value, tasks)
    if name == "prompting":
        return tuple(Prompting(prompting) for prompting in value)
    return Style(value) if name == "style" else value
