"""What the fakes' command lines share: names in a list, a port, and serving until the end."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click

from harness.fakes.fake_openai import FakeOpenAi

Command = Callable[..., Any]


def list_option(rows: Mapping[str, Sequence[str]]) -> Callable[[Command], Command]:
    """--list: a line a name, what is said of it in columns; nothing is served then."""
    lines = [(name, *columns) for name, columns in rows.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def tell(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
        if is_asked:
            for line in lines:
                cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
                click.echo(" ".join(cells).rstrip())
            ctx.exit()

    return click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=tell)


def name_argument(rows: Mapping[str, Sequence[str]]) -> Callable[[Command], Command]:
    """NAME, one of those that --list lists."""
    return click.argument("name", type=click.Choice(list(rows)), metavar="NAME")


port_option: Final = click.option(
    "--port", type=int, default=0, help="On 127.0.0.1.  [default: any]"
)


def tell_listening(address: object) -> None:
    """On standard error, as who starts a fake waits for it."""
    click.echo(f"listening on {address}", err=True)


async def serve_openai(server: FakeOpenAi) -> None:
    """Until it is interrupted."""
    async with server:
        tell_listening(server.address)
        await asyncio.Event().wait()
