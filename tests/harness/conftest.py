"""A folder with fake checkpoints, and the command line in it."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from harnessapi.rpc.targets import parse_target
from harnessapi.values import ModelDescription

from harness import plugins
from harness.cli import main
from harness.cli.dependencies import Dependencies
from harness.clients.grpc_client import Client
from harness.fakes.fake_model import FakeModel, start_fake
from harness.fakes.fake_openai import FakeOpenAi
from harness.fleet.plans import Program
from harness.runs.cell import Cell
from harness.runs.manifest import EndpointRecord, Manifest, write_manifest
from harness.runs.run_options import RunOptions
from harness.way import Prompting, Style

FAKE_MODULE = "harness.fakes.fake_server"

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
from harness.fleet.plans import Program
main(obj=Dependencies(model_server=Program(module="{FAKE_MODULE}")), prog_name="harness")
"""


WaitUntil = Callable[[Callable[[], object]], None]


class Workplace:
    """A working directory with endpoints.toml, whose checkpoint is a script for the fake."""

    # How long a server that is not ours has; 0 where nobody is there.
    connect_timeout_s = 600.0

    def __init__(self, folder: Path, temporary: Path, wait_until: WaitUntil) -> None:
        self.folder = folder
        self.wait_until = wait_until
        # What a killed process leaves behind; short, for it holds Unix sockets.
        self.temporary = temporary
        (folder / "rnn").mkdir()
        (folder / "endpoints.toml").write_text(ENDPOINTS)
        self.script()

    def script(self, **fields: Any) -> None:
        (self.folder / "rnn" / "fake.json").write_text(json.dumps(fields))

    def run(self, *arguments: str) -> Result:
        given = Dependencies(
            model_server=Program(module=FAKE_MODULE), connect_timeout_s=self.connect_timeout_s
        )
        return CliRunner().invoke(main, arguments, obj=given)

    def start(self, *arguments: str, terminal: int | None = None) -> "subprocess.Popen[str]":
        return self.start_program(PROGRAM, *arguments, terminal=terminal)

    def start_program(
        self, program: str, *arguments: str, terminal: int | None = None
    ) -> "subprocess.Popen[str]":
        """With a terminal it is as wide as that one, whatever this process is told of its own."""
        output = subprocess.PIPE if terminal is None else terminal
        environment = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES"}}
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder,
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
                "TMPDIR": str(self.temporary),
            },
            stdin=terminal,
            stdout=output,
            stderr=output,
            text=True,
        )

    def only_run(self) -> Path:
        [folder] = (self.folder / "runs").iterdir()
        return folder

    def fakes_running(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = entry.read_bytes()
            except OSError:
                continue
            if b"fake_server" in command and str(self.folder).encode() in command:
                found.append(int(entry.parent.name))
        return found

    def wait_for_samples(self, number: int) -> None:
        self.wait_until(lambda: self.num_samples() >= number)

    def num_samples(self) -> int:
        files = self.folder.glob("runs/*/samples.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    def samples(self) -> list[dict[str, Any]]:
        text = (self.only_run() / "samples.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def workplace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> Iterator[Workplace]:
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryDirectory(prefix="h-") as temporary:
        yield Workplace(tmp_path, Path(temporary), wait_until)


StartOpenAi = Callable[[FakeOpenAi], FakeOpenAi]


@pytest.fixture
def start() -> Iterator[StartOpenAi]:
    """Serves on a thread of its own, until the test ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started: list[FakeOpenAi] = []

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=600)

    def starting(server: FakeOpenAi) -> FakeOpenAi:
        started.append(run(server.__aenter__()))
        return server

    yield starting
    for server in started:
        run(server.__aexit__())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=600)
    loop.close()


Serve = Callable[[FakeModel], AbstractAsyncContextManager[Client]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Serves a fake in this process; gives a client of it."""

    @asynccontextmanager
    async def serving(model: FakeModel) -> AsyncIterator[Client]:
        address = f"unix:{tmp_path}/fake.sock"
        server = await start_fake(model, address)
        client = Client(parse_target(address))
        try:
            yield client
        finally:
            await client.close()
            await server.stop(None)

    return serving


def stored_cell(endpoint: str, **fields: Any) -> Cell:
    """By default assoc_recall of 4 pairs, answered at once."""
    values = {
        "task": "assoc_recall",
        "size": 4,
        "prompting": Prompting.DIRECT,
        "retrieval": None,
        "style": Style.SYMBOLIC,
        "max_new_tokens": 40,
    }
    return Cell(endpoint=endpoint, **{**values, **fields})


def stored_sample(cell: Cell, index: int, *, is_right: bool, **fields: Any) -> dict[str, Any]:
    """A line of samples.jsonl; `seed` and `alphabet` go into its address."""
    parameters = f"size={cell.size}"
    if cell.task == "assoc_recall":
        parameters = f"alphabet={fields.pop('alphabet', 128)},{parameters}"
    answer = "bab" if is_right else "dok"
    searched = [["query", "<search> fem </search>"], ["inserted", "fem bab"]]
    step = {"query": "fem", "mode": "dense", "outcome": "found", "inserted_text": "fem bab"}
    times = {"started_at_s": 1.0 + index, "finished_at_s": 2.0 + index, "ttft_ms": 5.0}
    rest = ("total_ms", "backoff_ms", "queue_ms", "prefill_ms", "decode_ms", "retrieval_ms")
    return {
        "cell": cell.key,
        "address": f"{cell.task}/{parameters}/test/seed={fields.pop('seed', 0)}/index={index}",
        "prompt": "assoc_recall ; fem bab ; <direct> fem",
        "prompt_token_ids": [1, 2, 3],
        "target": "bab",
        "transcript": [*(searched if cell.retrieval else []), ["answer", f"<answer> {answer}"]],
        "searches": [{**step, "detail": "", "elapsed_ms": 0.5}] if cell.retrieval else [],
        "answer": answer,
        "verdict": "correct" if is_right else "wrong",
        "finish_reason": "eos",
        "num_prompt_tokens": 3 * cell.size + 4,
        "num_generated_tokens": 3,
        "num_inserted_tokens": 2 if cell.retrieval else 0,
        "num_searches": 1 if cell.retrieval else 0,
        "times": {**times, **dict.fromkeys(rest, 1.0)},
        "num_attempts": 1,
        "faults": [],
        **fields,
    }


def stored_run(
    folder: Path,
    samples: dict[Cell, list[dict[str, Any]]],
    *,
    family: str = "RNN",
    seed: int = 0,
    **model: Any,
) -> Path:
    """A run on disk as `harness eval` leaves it; every endpoint has the same model."""
    folder.mkdir(parents=True)
    described = ModelDescription(
        **{
            "name": "model",
            "family": family,
            "checkpoint_digest": "0" * 64,
            "num_parameters": 700_000,
            "state_bytes": 2048,
            **model,
        }
    )
    options = RunOptions(
        endpoint=tuple(dict.fromkeys(cell.endpoint for cell in samples)),
        task=tuple(dict.fromkeys(cell.task for cell in samples)),
        size=None,
        samples=max(map(len, samples.values())),
        seed=seed,
        prompting=None,
        style=None,
        retrieval=None,
        max_new_tokens=None,
    )
    manifest = Manifest(
        run=folder.name,
        created_at="2026-01-01T00:00:00+00:00",
        versions={"harness": "0.1.0"},
        options=options,
        endpoints=tuple(
            EndpointRecord(name=name, place="here", retrieval=True, model=described)
            for name in options.endpoint
        ),
        cells=tuple(samples),
        sessions=(),
    )
    write_manifest(folder, manifest)
    lines = [json.dumps(line) for lines in samples.values() for line in lines]
    (folder / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture
def stored() -> Any:
    """Makes runs on disk without a model: `cell`, `sample`, `run`."""
    return SimpleNamespace(cell=stored_cell, sample=stored_sample, run=stored_run)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Lays a package as an installer does: modules, and metadata with its entry points."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    plugins.brought.cache_clear()

    def lay(package: str, text: str, *, group: str, **points: str) -> Path:
        (site / package).mkdir()
        (site / package / "__init__.py").write_text(text)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        listed = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{listed}")
        return site / package

    yield lay
    plugins.brought.cache_clear()
    for name in [name for name in sys.modules if name.startswith("pkg_of_test")]:
        del sys.modules[name]
