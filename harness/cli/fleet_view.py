"""What `harness up` shows of its servers: a live table in a terminal, else a line a change."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import click
from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.errors import printable
from harness.fleet.local_server import Health
from harness.fleet.standing_fleet import FleetRow

_COLOURS: Final = {Health.HEALTHY: "green", Health.FAILED: "bold red", Health.STOPPED: "dim"}


class FleetView(Protocol):
    """Called on the event loop."""

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """A phase begins; or, as a warning, something that a user wants to know in any case."""
        ...

    def show(self, rows: Sequence[FleetRow]) -> None:
        """How it stands now."""
        ...


@contextmanager
def open_fleet_view(*, is_quiet: bool) -> Iterator[FleetView]:
    """The view that fits standard output; it leaves the terminal as it was."""
    if not sys.stdout.isatty():
        yield PlainFleetView(is_quiet=is_quiet)
        return
    with Live(console=Console(), auto_refresh=False) as live:
        yield LiveFleetView(live, is_quiet=is_quiet)


class LiveFleetView:
    """One table that stays below what is said."""

    def __init__(self, live: Live, *, is_quiet: bool) -> None:
        self._live = live
        self._is_quiet = is_quiet
        self._shown: Sequence[FleetRow] = ()

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """Above the table."""
        if is_warning or not self._is_quiet:
            self._live.console.print(printable(text), markup=False, highlight=False)

    def show(self, rows: Sequence[FleetRow]) -> None:
        """Draws the table again where it has changed."""
        if rows != self._shown:
            self._shown = rows
            self._live.update(_table(rows), refresh=True)


class PlainFleetView:
    """Lines for a log: what is said on standard error, how each endpoint stands on the other."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._shown: set[FleetRow] = set()

    def say(self, text: str, *, is_warning: bool = False) -> None:
        """One line."""
        if is_warning or not self._is_quiet:
            click.echo(printable(text), err=True)

    def show(self, rows: Sequence[FleetRow]) -> None:
        """A line for each row that has changed."""
        for row in rows:
            if row not in self._shown:
                click.echo(f"{row.name:<16} {row.health:<10} {row.address:<22} log: {row.log}")
        self._shown = set(rows)


def _table(rows: Sequence[FleetRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in ("endpoint", "health", "address"):
        table.add_column(name, no_wrap=True)
    table.add_column("restarts", justify="right", no_wrap=True)
    table.add_column("log", overflow="fold")
    for row in rows:
        health = Text(row.health, style=_COLOURS.get(row.health, "yellow"))
        table.add_row(row.name, health, row.address, str(row.num_restarts), str(row.log))
    return table
