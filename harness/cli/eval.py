"""`harness eval`: ask, score, store, show."""

from pathlib import Path
from typing import Any, Final

import click
from harnessapi.values import Mode

from harness.cli.dependencies import dependencies
from harness.cli.eval_options import EvalOptions, prepare
from harness.cli.progress import open_listener
from harness.cli.shared_options import (
    ENDPOINT_NAME,
    ENDPOINTS_FILE,
    QUIET,
    RUNS_FOLDER,
    TASK_NAME_OR_ALL,
    CommaList,
    ExecutorType,
    ShardType,
)
from harness.cli.shown import show_results
from harness.cli.signals import StoppedError, run_until_signal
from harness.cli.task_parameters import TASK_PARAMETERS
from harness.cluster.ray_library import RayExecutor, num_cpus, open_ray
from harness.cluster.ray_session import run_ray_session
from harness.errors import HarnessError, IncompleteError, InputError
from harness.runner.cell_run import Listener
from harness.runner.session import SessionPlan, run_session
from harness.runs.refused import refused_lines
from harness.runs.run_limits import Limits
from harness.runs.run_options import DEFAULT_NUM_EXAMPLES
from harness.runs.store import ERRORS_NAME, RunStore
from harness.runs.summary import RunResult, summarize, write_summary
from harness.way import MAX_FILLER, Prompting, Reading, SearchArm, Style

_PROMPTINGS: Final = click.Choice([prompting.value for prompting in Prompting])
_READINGS: Final = click.Choice([reading.value for reading in Reading])
_SEARCHES: Final = click.Choice([search.value for search in SearchArm])


@click.command("eval", no_args_is_help=True)
@click.option(
    "--endpoint",
    type=CommaList(ENDPOINT_NAME, "NAME,..."),
    help="Who is asked; a list, or `all`. See `harness endpoints list`.",
)
@click.option(
    "--task",
    type=CommaList(TASK_NAME_OR_ALL, "TASK,..."),
    help="What is asked; a list, or `all` of ours. See `harness tasks list`; PATH.py:CLASS is a "
    "task of a file of yours.",
)
@click.option(
    "--size",
    type=CommaList(click.INT, "N,..."),
    help="Sizes to sweep; the task's default when not given.",
)
@TASK_PARAMETERS
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Samples per cell; fewer at a size that has fewer different ones.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Which samples: nearby seeds share none.",
)
@click.option(
    "--prompting",
    type=CommaList(_PROMPTINGS, "direct|cot|search,..."),
    help="How the answer is asked for.  [default: search where endpoint and task can, else cot]",
)
@click.option(
    "--style",
    type=click.Choice([style.value for style in Style]),
    help="Our checkpoints read symbolic, language models natural.  [default: what it reads]",
)
@click.option(
    "--retrieval",
    type=click.Choice([*(mode.value for mode in Mode), "none"]),
    help="The kind of search.  [default: what the task prefers]",
)
@click.option(
    "--reading",
    type=CommaList(_READINGS, "once|twice|question-first,..."),
    default="once",
    show_default=True,
    help="The context before the question: once, twice, or with the question before it too. "
    "Searches look at one copy.",
)
@click.option(
    "--filler",
    type=CommaList(click.IntRange(0, MAX_FILLER), "N,..."),
    default="0",
    show_default=True,
    help="Neutral words between the question and what the model writes.",
)
@click.option(
    "--search",
    type=CommaList(_SEARCHES, "honest|empty|lying,..."),
    default="honest",
    show_default=True,
    help="What searches find: what is there; nothing; or what stands in a false copy of the "
    "context, with the share of answers that are its lie. See docs/arms.md.",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0, max=64),
    default=DEFAULT_NUM_EXAMPLES,
    show_default=True,
    help="Worked ones before each question of the natural style.",
)
@click.option(
    "--request",
    multiple=True,
    metavar="KEY=VALUE",
    help="What endpoints are told besides the text, over their own: temperature=0.7, "
    "extra_body.top_k=20. See docs/endpoints.md.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(min=1, max=4096),
    default=64,
    show_default=True,
    help="Samples in flight at once, at most: fewer where an endpoint does not keep up.",
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    help="Limit of a completion.  [default: twice the longest worked one, and 32; natural: more]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    help="Seconds for one answer from its first byte on; for the retries of a sample; and without "
    "a byte from an endpoint, to any request. Waiting in a server's queue does not count.",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1, max=1000),
    default=1,
    show_default=True,
    metavar="K",
    help="Ask each sample K times, each with a seed of its own: mean, pass@k and agreement.",
)
@click.option(
    "--log-probs",
    type=click.IntRange(min=0, max=20),
    metavar="K",
    help="Store how likely each generated token was, and the K likeliest of its place; of model "
    "servers over gRPC alone.  [default: neither]",
)
@click.option(
    "--shard",
    type=ShardType(),
    help="Of each cell only the samples whose index is I modulo N: 0/N to N-1/N. `harness merge` "
    "joins the N runs.",
)
@click.option(
    "--requests-per-minute",
    type=click.FloatRange(min=0, min_open=True),
    help="At most so many to each endpoint, evenly spread.  [default: what it takes]",
)
@click.option(
    "--max-tokens-total",
    type=click.IntRange(min=1),
    metavar="N",
    help="Stop before this command has used more than N tokens; --resume goes on.",
)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0, min_open=True),
    metavar="AMOUNT",
    help="Stop before the run has cost more, at the prices of endpoints.toml; --resume takes a "
    "larger one. See docs/endpoints.md.",
)
@click.option(
    "--stop-when",
    metavar="width=W",
    help="A cell is done once the 95% interval of its accuracy is at most W wide, of an interval "
    "that holds however often it is looked at; --samples is the most that are asked. "
    "`none`: no more.",
)
@click.option(
    "--parallel-endpoints",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="So many endpoints that are served here are asked at once: as cores and memory allow. "
    "Those with an address are all asked at once.",
)
@click.option(
    "--executor",
    type=ExecutorType(),
    help="Divide the samples among the workers of a Ray cluster; without an address of a Ray of "
    "this machine. Needs the extra `ray`; each worker asks by up to --concurrency samples.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --executor: so many.  [default: a worker a CPU of the cluster]",
)
@RUNS_FOLDER
@click.option("--resume", metavar="RUN", help="Finish a run, by its ID or folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a cell, no table.")
@QUIET
@ENDPOINTS_FILE
@click.pass_context
def eval_command(ctx: click.Context, /, **values: Any) -> None:
    """Ask endpoints the samples of tasks and score the answers.

    Local checkpoints are served on demand and stopped afterwards. Every finished sample is stored
    at once: a run that was stopped by Ctrl-C, a signal or a fault goes on with --resume, which
    takes all options from the run. Samples that failed after retries, or whose request was refused,
    are not scored; they are counted as errored, and --resume asks them again. Those that a content
    filter of the endpoint kept back are counted as filtered, in the denominator, and are done.

    An endpoint is asked by up to --concurrency samples at once, by fewer where it turns requests
    away or lets them queue, and where it limits requests a minute no faster than that. Endpoints
    with an address are asked side by side. A cell whose requests are refused ten times in a row is
    left out, and the rest of the grid goes on.

    Lists of endpoints, tasks, sizes, promptings, readings, fillers and searches make a grid. Cells
    that cannot be asked (a size that a task does not have, a search that an endpoint does not have)
    are refused with a reason; the rest of the grid is run, and the exit status is 4. So it is where
    one endpoint of several does not start or answer, or is lost on the way: its cells are left out,
    and --resume asks them.

    --max-tokens-total, --max-cost and --stop-when are stored with the run: --resume goes on under
    them with what was spent, or under those that it names. A sample is begun only where there is
    room for the longest that it can be; what retries take, and the further turns of a dialogue
    that is under way, come on top.

    \b
      harness eval --endpoint rnn-rag --task assoc_recall
      harness eval --endpoint rnn,rnn-rag --task all --size 16,32,64 --json
      harness eval --endpoint rnn --task assoc_recall --prompting direct,cot
      harness eval --endpoint rnn-rag --task needle,mqar -T keys=8 -T mqar.queries=4
      harness eval --endpoint gpt --task needle --requests-per-minute 60 --max-tokens-total 200000
      harness eval --endpoint gpt --task needle --max-cost 5
      harness eval --endpoint rnn --task index --samples 20000 --stop-when width=0.05
      harness eval --endpoint gpt --task index --repeats 5 --request temperature=0.7
      harness eval --endpoint rnn --task assoc_recall --prompting direct --log-probs 5
      harness eval --endpoint rnn-rag --task assoc_recall --search honest,empty,lying
      harness eval --endpoint gpt --task index --reading once,twice --filler 0,32
      harness eval --endpoint rnn-rag --task ./my_task.py:MyTask --size 4,16
      harness eval --endpoint rnn --task all --samples 100000 --shard 3/16
      harness eval --endpoint rnn --task all --executor ray=10.0.0.1:6379 --workers 64
      harness eval --resume 20260101T120000Z-1a2b

    \b
    Exit status: 0 all samples are scored, or as many as are enough (--stop-when);
    2 the command was wrong, or no cell of the grid can be asked; 3 no endpoint
    could be reached; 4 incomplete (also after Ctrl-C, where a budget is spent, and
    where cells were refused or left out).
    """
    options = EvalOptions(**values)
    folders: list[Path] = []
    try:
        _evaluate(ctx, options, folders)
    except KeyboardInterrupt:  # Before the first sample, or after the last.
        going_on = f"To go on: harness eval --resume {folders[0]}" if folders else ""
        stored = "what was done is stored" if folders else "nothing was stored"
        raise StoppedError(f"stopped by Ctrl-C; {stored}\n{going_on}".rstrip()) from None


def _evaluate(ctx: click.Context, options: EvalOptions, folders: list[Path]) -> None:
    """Appends the run's folder once there is something in it. Raises HarnessError."""
    _require_executor(ctx, options)
    run = prepare(ctx, options, dependencies(ctx))
    failure, num_added = None, 0
    if run.store is not None:
        failure, num_added = _run(run.session, run.store, options)
    elif not options.quiet:
        click.echo(f"run {run.folder.name} is complete, nothing is left to do", err=True)
    if failure is not None and not num_added and not isinstance(failure, IncompleteError):
        raise failure
    if not run.folder.exists():
        raise IncompleteError(f"{failure}; nothing was stored")
    folders.append(run.folder)
    result = summarize(run.folder)
    unwritten = _write_summary(run.folder, result)
    show_results(run.folder, result, as_json=options.as_json, is_quiet=options.quiet)
    if failure is not None or not result.is_complete:
        raise _incomplete(run.folder, result, failure)
    if unwritten is not None:
        raise unwritten
    if result.refused:
        lines = "\n".join(f"  {line}" for line in refused_lines(result.refused))
        raise IncompleteError(f"every cell that can be asked is done; the others are not:\n{lines}")


def _require_executor(ctx: click.Context, options: EvalOptions) -> None:
    """Raises InputError or click.UsageError where the workers cannot do what is asked of them."""
    if options.executor is None:
        if options.workers is not None:
            raise click.UsageError("--workers needs --executor", ctx)
        return
    for name in ("shard", "max_tokens_total", "max_cost", "stop_when"):
        if getattr(options, name) is not None:
            given = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"--executor and {given} exclude each other", ctx)
    options.executor.require()


def _run(
    session: SessionPlan, store: RunStore, options: EvalOptions
) -> tuple[HarnessError | None, int]:
    """Why the session ended early, if it did, and how many samples it stored."""
    num_before = len(store.done)
    failure = None
    try:
        with open_listener(is_quiet=options.quiet) as listener:
            if options.executor is None:
                run_until_signal(run_session(session, store, listener))
            else:
                _run_on_ray(options.executor, options.workers, session, store, listener)
    except HarnessError as error:
        failure = error
    finally:
        store.close()
    return failure, len(store.done) - num_before


def _run_on_ray(
    executor: RayExecutor,
    num_workers: int | None,
    session: SessionPlan,
    store: RunStore,
    listener: Listener,
) -> None:
    if (shard := session.options.shard) is not None:
        raise InputError(f"run {store.run} is shard {shard}: --executor divides an undivided run")
    if session.limits != Limits():
        raise InputError(
            f"run {store.run} has limits, which workers do not share: go on without --executor"
        )
    listener.say("connecting to Ray")
    # Before the loop: Ray sets what a signal does.
    with open_ray(executor) as ray:
        num = min(num_workers or num_cpus(ray), session.options.samples)
        run_until_signal(run_ray_session(ray, session, store, listener, num_workers=num))


def _write_summary(folder: Path, result: RunResult) -> HarnessError | None:
    """Why it could not be written: told after what the run came to."""
    try:
        write_summary(folder, result)
    except HarnessError as error:
        return error
    return None


def _incomplete(folder: Path, result: RunResult, failure: HarnessError | None) -> HarnessError:
    """The failure with the way to go on; without one, errored samples are the reason."""
    num_errored = sum(cell.metrics.errored for cell in result.cells)
    reason = failure or f"{num_errored} samples errored (see {folder / ERRORS_NAME})"
    kind = IncompleteError if failure is None else type(failure)
    return kind(
        f"{reason}\n{result.num_missing} samples are missing; what was done is stored. "
        f"To go on: harness eval --resume {folder}"
    )
