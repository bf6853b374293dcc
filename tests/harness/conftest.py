"""A folder with fake checkpoints, and the command line in it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.cli.dependencies import Dependencies
from harness.endpoints.client import Client
from harness.endpoints.fake import FakeModel, start_fake

FAKE_MODULE = "harness.endpoints.fake_server"

ENDPOINTS = """
[rnn]
checkpoint = "rnn"

[rnn-rag]
checkpoint = "rnn"
retrieval = true
"""

# The command line as a process of its own, with the fake in place of the real server.
PROGRAM = f"""
from harness.cli import main
from harness.cli.dependencies import Dependencies
main(obj=Dependencies(server_module="{FAKE_MODULE}"), prog_name="harness")
"""


class Workplace:
    """A working directory with endpoints.toml, whose checkpoint is a script for the fake."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        self.folder = folder
        # What a killed process leaves behind; short, for it holds Unix sockets.
        self.temporary = temporary
        (folder / "rnn").mkdir()
        (folder / "endpoints.toml").write_text(ENDPOINTS)
        self.script()

    def script(self, **fields: Any) -> None:
        (self.folder / "rnn" / "fake.json").write_text(json.dumps(fields))

    def run(self, *arguments: str) -> Result:
        given = Dependencies(server_module=FAKE_MODULE, connect_timeout_s=0.5)
        return CliRunner().invoke(main, arguments, obj=given)

    def start(self, *arguments: str, terminal: int | None = None) -> "subprocess.Popen[str]":
        output = subprocess.PIPE if terminal is None else terminal
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "TMPDIR": str(self.temporary),
            },
            stdout=output,
            stderr=output,
            text=True,
        )

    def only_run(self) -> Path:
        [folder] = (self.folder / "runs").iterdir()
        return folder

    def samples(self) -> list[dict[str, Any]]:
        text = (self.only_run() / "samples.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workplace]:
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(prefix="h-") as temporary:
        yield Workplace(tmp_path, Path(temporary))


Serve = Callable[[FakeModel], AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serves a fake in this process; gives a client of it."""

    @asynccontextmanager
    async def serving(model: FakeModel) -> AsyncIterator[Client]:
        address = f"unix:{tmp_path}/fake.sock"
        server = await start_fake(model, address)
        client = Client(address)
        try:
            yield client
        finally:
            await client.close()
            await server.stop(None)

    return serving
