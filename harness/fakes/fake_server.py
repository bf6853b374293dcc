"""The fake model as a process; it stands in for `harness_servers.command` where a test asks for it.

    python -m harness.fakes.fake_server FOLDER --listen ADDRESS

`FOLDER/fake.json` holds the fields of its Script.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from harness.fakes.fake_model import FakeModel, Script, start_fake


async def _serve(folder: Path, address: str) -> None:
    script = Script(**json.loads((folder / "fake.json").read_text()))
    if script.refuse_with_status:
        sys.stderr.write(f"{folder}: the script refuses\n")
        sys.exit(script.refuse_with_status)
    while script.never_listens:
        await asyncio.sleep(3600)
    model = FakeModel(script)
    died = folder / "died"

    def die(call: int) -> None:
        if call == script.die_at_call and (script.dies_again or not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    model.on_call = die
    server = await start_fake(model, address)
    sys.stderr.write(f"listening on {address}\n")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(0.1)


def main() -> None:
    """Runs until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--retrieval", help="taken for the real server's sake; nothing searches")
    options = parser.parse_args()
    asyncio.run(_serve(options.checkpoint, options.listen))


if __name__ == "__main__":
    main()
