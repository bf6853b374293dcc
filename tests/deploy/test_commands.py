"""Every service's exact command as a process of this machine, asked by its exact health check."""

import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def fleet(machine: Any, services: Any, root: Path) -> Iterator[Any]:
    """All services whose checkpoint is there, healthy; they end when they are told to."""
    servers = [name for name in services if name in machine.ports]
    here = [name for name in servers if missing(root, name) is None]
    try:
        for name in sorted(here, key=lambda name: "depends_on" in services[name]):
            assert machine.check(name) == 1
            machine.start(name)
            if name == "retrieval":
                machine.wait_healthy(name)
        for name in here:
            machine.wait_healthy(name)
        yield machine
    finally:
        statuses = machine.stop_all()
    assert set(statuses.values()) == {0}, statuses
    assert [machine.check(name) for name in here] == [1] * len(here)


def missing(root: Path, service: str) -> Path | None:
    """The checkpoint that a service waits for."""
    weights = root / "checkpoints" / service / "model.safetensors"
    return None if service == "retrieval" or weights.exists() else weights.parent


def test_a_server_started_by_its_command_is_healthy_by_its_check(
    fleet: Any, root: Path, server: str
) -> None:
    if missing(root, server):
        pytest.skip(f"until checkpoints/{server} is there")
    assert fleet.check(server) == 0


def test_the_harness_evaluates_the_fleet_by_its_command(
    fleet: Any, services: Any, root: Path
) -> None:
    tables = tomllib.loads((root / "deploy" / "endpoints.toml").read_text())
    here = {
        name: table
        for name, table in tables.items()
        if missing(root, name.removesuffix("-rag")) is None
    }
    if not here:
        pytest.skip("until there is a checkpoint")
    texts = [
        f'[{name}]\naddress = "{fleet.here(table["address"].removeprefix("grpc://"), "harness")}"\n'
        f"retrieval = {str(table.get('retrieval', False)).lower()}\n"
        for name, table in here.items()
    ]
    (fleet.folder / "endpoints.toml").write_text("\n".join(texts))
    done = subprocess.run(
        [*fleet.command("harness"), "--samples", "2"],
        cwd=fleet.folder,
        env=fleet.environment("harness"),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert all(f"\n{name} " in done.stdout for name in here)


def test_a_missing_checkpoint_is_refused_with_its_name(machine: Any, tmp_path: Path) -> None:
    command = [word.replace("/checkpoints/rnn", "/nowhere/rnn") for word in machine.command("rnn")]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=machine.environment("rnn"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "/nowhere/rnn" in done.stderr
