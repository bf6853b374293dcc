"""A command group that imports a command when it is run, and tells our errors in one line."""

import importlib
from dataclasses import dataclass
from typing import Any

import click

from harness.errors import HarnessError, unknown_name


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

    def invoke(self, ctx: click.Context) -> Any:
        """Turns an error of ours into one message and its exit status."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_status)
