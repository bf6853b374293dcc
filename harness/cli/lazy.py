"""A command group that imports a command when it is run, and tells our errors in one line."""

import contextlib
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

import click

from harness.errors import HarnessError, NoRoomError, cannot_write, unknown_name


@dataclass(frozen=True, kw_only=True, slots=True)
class LazyCommand:
    """Where a command is, and what the overview says about it without importing it."""

    target: str
    help: str

    def load(self) -> click.Command:
        """Imports `module:attribute`."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.target} is not a command")
        return command


class LazyGroup(click.Group):
    """Commands in the order of their table."""

    def __init__(self, *, table: dict[str, LazyCommand], name: str, help: str) -> None:
        super().__init__(
            name=name, help=help, context_settings={"help_option_names": ["-h", "--help"]}
        )
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names."""
        return list(self._table)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Imports the command."""
        return self._table[cmd_name].load() if cmd_name in self._table else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggests near names for an unknown command."""
        if args and args[0] not in self._table and not args[0].startswith("-"):
            raise click.UsageError(str(unknown_name("command", args[0], self._table)), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """The overview, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in self._table.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """As Click's, but for output that has no room left (a full disk, /dev/full)."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            told = cannot_write(error.filename or "the output", error)
            if not isinstance(told, NoRoomError):
                raise
            with contextlib.suppress(OSError):
                click.echo(f"Error: {told}", err=True)
            sys.exit(told.exit_status)
        finally:
            _drop_unwritten()

    def invoke(self, ctx: click.Context) -> Any:
        """Turns an error of ours into one message and its exit status."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_status)


def _drop_unwritten() -> None:
    """What had no room, and was told of: Python would try it again at its end, with a traceback."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
