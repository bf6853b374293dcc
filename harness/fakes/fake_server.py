"""The fake model as a process; it stands in for `harness_servers.command` where a test asks for it.

    python -m harness.fakes.fake_server FOLDER --listen ADDRESS

`FOLDER/fake.json` holds the fields of its Script.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import click

from harness.fakes.fake_commands import tell_listening
from harness.fakes.fake_model import FakeModel, Script, start_fake


async def _serve(folder: Path, address: str) -> None:
    script = Script(**json.loads((folder / "fake.json").read_text()))
    if script.refuse_with_status:
        click.echo(f"{folder}: the script refuses", err=True)
        sys.exit(script.refuse_with_status)
    while script.never_listens:
        await asyncio.Event().wait()
    model = FakeModel(script)
    died = folder / "died"

    def die(call: int) -> None:
        if call == script.die_at_call and (script.dies_again or not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    model.on_call = die
    server = await start_fake(model, address)
    tell_listening(address)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(0.1)


@click.command("fake")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--listen", required=True)
@click.option("--retrieval", help="Taken for the real server's sake; nothing searches.")
@click.option("--insecure", is_flag=True, help="The same.")
def fake_command(
    checkpoint: Path,
    listen: str,
    retrieval: str | None,  # noqa: ARG001
    insecure: bool,  # noqa: ARG001
) -> None:
    """Runs until SIGTERM."""
    asyncio.run(_serve(checkpoint, listen))


if __name__ == "__main__":
    fake_command()
