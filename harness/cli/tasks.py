"""`harness tasks`: what can be asked."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import click
from harnessapi.values import Mode

from harness.cli.lazy import LazyCommand, LazyGroup
from harness.cli.shared_options import TASK_NAME
from harness.cli.task_parameters import TASK_PARAMETERS, read_parameters, with_balance
from harness.errors import HarnessError
from harness.plugins import package_of
from harness.runs.run_options import DEFAULT_NUM_EXAMPLES
from harness.sample import Sample, Split
from harness.tasks import TASKS, build_task, find_task, natural, symbolic
from harness.tasks.distinct import few_samples
from harness.tasks.foreign import installed_tasks, naming
from harness.tasks.natural import worked_examples
from harness.tasks.parameters import parameter_texts
from harness.tasks.prompts import make_prompt
from harness.tasks.task import Task
from harness.way import MAX_FILLER, Prompting, Reading, SearchArm, Style, Way

# Columns: narrower than a word and some more it is not folded.
_LEAST_TEXT: Final = 20


@click.command("list")
def list_command() -> None:
    """List the tasks: ours, and those of installed packages.

    A task of a file needs no list: `harness tasks show ./my_task.py:MyTask`.
    """
    installed = installed_tasks()
    width = max(len(name) for name in (*TASKS, *installed))
    for name, kind in TASKS.items():
        click.echo(_hanging(f"{name:<{width}}  ", kind.summary))
    for name, one in installed.items():
        try:
            summary = find_task(name).summary
        except HarnessError as error:
            summary = f"cannot be asked: {error}"
        click.echo(_hanging(f"{name:<{width}}  ", f"{summary} ({package_of(one)})"))


@click.command("show", no_args_is_help=True)
@click.argument("task", type=TASK_NAME)
def show_command(task: str) -> None:
    """Show what TASK is: sizes, ways of answering, one worked sample in each.

    TASK is a name of `harness tasks list`, or PATH.py:CLASS. Where it breaks what a task promises,
    the method and the rule are named.

    \b
      harness tasks show assoc_recall
      harness tasks show ./my_task.py:MyTask
    """
    made = find_task(task)()
    rows = {
        "task": f"{made.name}: {made.summary}",
        "source": made.source,
        "size": f"{made.size_unit}, {made.min_size} to {made.max_size}; "
        f"default {', '.join(str(size) for size in made.default_sizes)}",
        "prompting": ", ".join(made.promptings),
        "style": ", ".join(made.styles),
        "retrieval": _retrieval(made),
        "chance": f"{made.chance:.3f} at the default size: {made.guess}",
        "asks": made.instruction,
    }
    for label, text in rows.items():
        click.echo(_hanging(f"{label:<10} ", text))
    for name, text in parameter_texts(type(made), made.size).items():
        click.echo(_hanging(f"{'parameter':<10} {name:<8} ", text))
    if few := few_samples(type(made)):
        click.echo(_hanging(f"{'few':<10} ", few))
    for mode, reason in made.impossible.items():
        click.echo(_hanging(f"{'impossible':<10} ", f"with {mode}: {reason}"))
    for sign, meaning in made.notation.items():
        click.echo(_hanging(f"{'sign':<10} {sign:<8} ", meaning))
    if made.wording.told:
        click.echo(_hanging(f"{'worded':<10} ", f"in plain language also as {made.wording.told}"))
    for one in made.abbreviations:
        click.echo(f"{'query':<10} {one.query:<8} stands for {one.pattern}")
    small = _as_asked(type(made), min(made.max_size, max(made.min_size, 3)))
    for way in made.ways():
        click.echo()
        _print_sample(small, small.sample(Split.TEST, 0, 0), way)


@click.command("sample", no_args_is_help=True)
@click.argument("task", type=TASK_NAME)
@click.option("--size", type=int, help="The task's default when not given.")
@TASK_PARAMETERS
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--index", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--prompting", type=click.Choice([p.value for p in Prompting]), default="direct")
@click.option("--style", type=click.Choice([s.value for s in Style]), default="symbolic")
@click.option("--retrieval", type=click.Choice([m.value for m in Mode]), help="For search.")
@click.option("--reading", type=click.Choice([r.value for r in Reading]), default="once")
@click.option("--filler", type=click.IntRange(0, MAX_FILLER), default=0, metavar="N")
@click.option("--search", type=click.Choice([s.value for s in SearchArm]), default="honest")
def sample_command(task: str, size: int | None, **options: Any) -> None:
    """Print one test sample of TASK: its address, prompt, target and a perfect completion.

    Text in square brackets is inserted by a search. Of a lying one the lie is shown too, and what
    is written of it. Reading, filler and search are those of harness eval.

    \b
      harness tasks sample assoc_recall --size 16 --seed 0 --index 0
      harness tasks sample assoc_recall --size 4 --prompting search --retrieval regex
      harness tasks sample assoc_recall --size 4 --prompting search --search lying
      harness tasks sample needle -T keys=2 -T values=4
      harness tasks sample ./my_task.py:MyTask --size 4 --prompting cot
    """
    kind = find_task(task)
    made = _as_asked(kind, size, options["parameter"])
    way = _way(made, Prompting(options["prompting"]), Style(options["style"]), options["retrieval"])
    way = replace(
        way,
        reading=Reading(options["reading"]),
        filler=options["filler"],
        search=SearchArm(options["search"]),
    )
    foreign = nullcontext() if kind.name in TASKS else naming(f"task '{task}'", way.name)
    with foreign:
        _print_sample(made, made.sample(Split.TEST, options["seed"], options["index"]), way)


def _as_asked(kind: type[Task], size: int | None, given: Sequence[str] = ()) -> Task:
    """As a new run asks it; None: at its default size."""
    kinds = {kind.name: kind}
    parameters = with_balance(read_parameters(given, kinds), kinds).get(kind.name, {})
    return build_task(kind, **parameters, **({} if size is None else {"size": size}))


def _hanging(head: str, text: str) -> str:
    """On one line; in a terminal that is narrower folded between words, behind the head."""
    if sys.stdout is None or not sys.stdout.isatty():
        return head + text
    width = max(shutil.get_terminal_size().columns, len(head) + _LEAST_TEXT)
    return click.wrap_text(text, width, initial_indent=head, subsequent_indent=" " * len(head))


def _way(task: Task, prompting: Prompting, style: Style, retrieval: str | None) -> Way:
    """The preferred search where none is named."""
    if prompting is not Prompting.SEARCH and retrieval:
        raise click.UsageError(f"--retrieval {retrieval} needs --prompting search")
    mode = Mode(retrieval) if retrieval else None
    if prompting is Prompting.SEARCH and mode is None:
        mode = next(iter(task.retrieval_modes), Mode.REGEX)
    return Way(prompting=prompting, retrieval=mode, style=style)


def _retrieval(task: Task) -> str:
    if not task.retrieval_modes:
        return "none"
    return f"{', '.join(task.retrieval_modes)} (the first is preferred)"


def _print_sample(task: Task, sample: Sample, way: Way) -> None:
    examples = worked_examples(task, sample.address.seed, DEFAULT_NUM_EXAMPLES)
    prompt = make_prompt(task, sample, way, examples=examples)
    click.echo(f"address    {sample.address.key}")
    click.echo(f"prompt     {prompt.text}")
    click.echo(f"target     {sample.target}")
    twin = sample.false_twin() if way.search is SearchArm.LYING else None
    if twin is not None:
        click.echo(f"lie        {twin.target}")
    if way.search is not SearchArm.EMPTY:
        click.echo(f"completion {_completion(twin or sample, way)}")


def _completion(sample: Sample, way: Way) -> str:
    if way.style is Style.NATURAL:
        return natural.write(sample.steps(way))
    return symbolic.show(sample.steps(way))


tasks_group = LazyGroup(
    name="tasks",
    help="List, show and sample the tasks.",
    table={
        "list": LazyCommand(target="harness.cli.tasks:list_command", help="List the tasks."),
        "show": LazyCommand(target="harness.cli.tasks:show_command", help="Show one task."),
        "sample": LazyCommand(
            target="harness.cli.tasks:sample_command", help="Print one sample of a task."
        ),
    },
)
