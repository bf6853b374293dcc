"""An OpenAI-compatible server with one oddity, as a process: what would the harness make of it?

    python -m harness.fakes.odd_server NAME --port 8000
    python -m harness.fakes.odd_server --list

Its model, any name, answers assoc_recall; every n-th reply is the odd one.
"""

import asyncio
from typing import Final

import click

from harness.fakes.fake_commands import list_option, name_argument, port_option, serve_openai
from harness.fakes.fake_openai import FakeOpenAi
from harness.fakes.odd_replies import ODDITIES, odd_script

_ROWS: Final = {name: (oddity.cost, oddity.summary) for name, oddity in ODDITIES.items()}


@click.command("odd")
@name_argument(_ROWS)
@port_option
@click.option("--every", type=click.IntRange(min=1), default=3, show_default=True)
@list_option(_ROWS)
def odd_command(name: str, port: int, every: int) -> None:
    """Serves until it is interrupted."""
    asyncio.run(serve_openai(FakeOpenAi(odd_script(name, every=every), port=port)))


if __name__ == "__main__":
    odd_command()
