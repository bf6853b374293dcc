"""An OpenAI-compatible server with one oddity, as a process: what would the harness make of it?

    python -m harness.fakes.odd_server NAME --port 8000
    python -m harness.fakes.odd_server --list

Its model, any name, answers assoc_recall; every n-th reply is the odd one.
"""

import asyncio

import click

from harness.fakes.fake_openai import FakeOpenAi
from harness.fakes.odd_replies import ODDITIES, odd_script


def _list(ctx: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:
    if is_asked:
        for name, oddity in ODDITIES.items():
            click.echo(f"{name:<22} {oddity.cost:<8} {oddity.summary}")
        ctx.exit()


async def _serve(name: str, port: int, every: int) -> None:
    async with FakeOpenAi(odd_script(name, every=every), port=port) as server:
        click.echo(f"listening on {server.address}", err=True)
        await asyncio.Event().wait()


@click.command("odd")
@click.argument("name", type=click.Choice(list(ODDITIES)), metavar="NAME")
@click.option("--port", type=int, default=0, help="On 127.0.0.1.  [default: any]")
@click.option("--every", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--list", is_flag=True, is_eager=True, expose_value=False, callback=_list)
def odd_command(name: str, port: int, every: int) -> None:
    """Serves until it is interrupted."""
    asyncio.run(_serve(name, port, every))


if __name__ == "__main__":
    odd_command()
