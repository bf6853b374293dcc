"""Options, and types of options, that several commands share."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from harness.cluster.ray_library import RayExecutor
from harness.endpoints.config import load_endpoints
from harness.endpoints.installed import installed_endpoints
from harness.errors import HarnessError
from harness.runs.shard import Shard
from harness.tasks import TASKS
from harness.tasks.foreign import installed_tasks

ENDPOINTS_FILE = click.option(
    "--endpoints",
    "endpoints_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Endpoints to use in place of ./endpoints.toml or the packaged ones.",
)

RUNS_FOLDER = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where runs are stored.",
)


QUIET = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    help="Say nothing of phases and progress; warnings, refusals and errors stay.",
)


class CommaList(click.ParamType):  # type: ignore[type-arg]  # generic in newer Click only
    """Values separated by commas, each of the given type; repeated ones count once."""

    def __init__(self, item: Any, metavar: str) -> None:
        self.item = item
        self.name = metavar

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Fails naming the value that is wrong."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in str(value).split(",")]
        if not all(parts):
            self.fail(f"'{value}' has an empty part", param, ctx)
        return tuple(dict.fromkeys(self.item.convert(part, param, ctx) for part in parts))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What the last value may become, behind the values before it."""
        before, comma, last = incomplete.rpartition(",")
        items = self.item.shell_complete(ctx, param, last)
        return [
            CompletionItem(f"{before}{comma}{item.value}", type=item.type)
            for item in items
            if item.value not in before.split(",")
        ]


class ShardType(click.ParamType):  # type: ignore[type-arg]  # generic in newer Click only
    """`3/16`."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Shard:
        """Fails naming the value, and the shards that there are."""
        try:
            return value if isinstance(value, Shard) else Shard.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class ExecutorType(click.ParamType):  # type: ignore[type-arg]  # generic in newer Click only
    """`ray`, `ray=ADDRESS`."""

    name = "ray[=ADDRESS]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> RayExecutor:
        """Fails naming the value."""
        try:
            return value if isinstance(value, RayExecutor) else RayExecutor.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Name(click.types.StringParamType):
    """A name that is looked up later; the shell completes it."""

    def __init__(self, names: Callable[[click.Context], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """The names that begin so."""
        return [CompletionItem(name) for name in self._names(ctx) if name.startswith(incomplete)]


def _endpoint_names(ctx: click.Context) -> tuple[str, ...]:
    try:
        file = load_endpoints(ctx.params.get("endpoints_file"), Path.cwd())
        names = [endpoint.name for endpoint in file.endpoints]
        groups = dict.fromkeys(one.group for one in file.endpoints if one.group is not None)
        return (*names, *groups, *(one for one in installed_endpoints() if one not in names), "all")
    except HarnessError:
        return ()


ENDPOINT_NAME = Name(_endpoint_names)


def _task_names(_ctx: click.Context) -> tuple[str, ...]:
    try:
        return (*TASKS, *(name for name in installed_tasks() if name not in TASKS))
    except HarnessError:
        return tuple(TASKS)


TASK_NAME = Name(_task_names)
TASK_NAME_OR_ALL = Name(lambda ctx: (*_task_names(ctx), "all"))
