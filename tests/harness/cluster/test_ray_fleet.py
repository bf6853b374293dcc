"""`harness up --executor ray`: replicas that can be asked, and come back when they die."""

import os
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest

FILE = Path("runs/up/endpoints.toml")


def addresses() -> list[str]:
    """Of the first endpoint; none before all are up."""
    if not FILE.exists() or not FILE.read_text():
        return []
    address = tomllib.loads(FILE.read_text())["rnn"]["address"]
    return [address] if isinstance(address, str) else list(address)


@pytest.fixture
def up(workplace: Any) -> Any:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    started = []

    def start(*arguments: str) -> Any:
        started.append(workplace.start("up", "rnn", *arguments, "--executor", "ray"))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_replica_that_is_killed_comes_back(workplace: Any, up: Any) -> None:
    process = up("--replicas", "2", "--num-cpus", "0.5")
    workplace.wait_until(lambda: len(addresses()) == 2)
    before = workplace.fakes_running()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    # Another process, at the same address.
    workplace.wait_until(lambda: len({*workplace.fakes_running()} - {*before}) == 1)
    asked = ("eval", "--endpoints", "one.toml", "--endpoint", "rnn", "--task", "assoc_recall")
    for address in addresses():
        Path("one.toml").write_text(f'[rnn]\naddress = "{address}"\n')
        result = workplace.run(*asked, "--size", "2", "--samples", "2")
        assert result.exit_code == 0, result.stderr
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    workplace.wait_until(lambda: not workplace.fakes_running())


def test_an_actor_that_is_killed_comes_back_with_its_server(workplace: Any, up: Any) -> None:
    up("--num-cpus", "0.5")
    workplace.wait_until(addresses)
    before = addresses()
    [server] = workplace.fakes_running()
    # The server's parent is the actor.
    actor = int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(actor, signal.SIGKILL)
    workplace.wait_until(lambda: addresses() not in ([], before))
    workplace.wait_until(lambda: workplace.fakes_running() not in ([], [server]))


def test_a_checkpoint_that_is_refused_ends_it(workplace: Any, up: Any) -> None:
    workplace.script(refuse_with_status=2)
    process = up()
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "the script refuses" in stderr


def test_replicas_need_an_executor(workplace: Any) -> None:
    result = workplace.run("up", "rnn", "--replicas", "2")
    assert result.exit_code == 2
    assert "--replicas needs --executor ray" in result.stderr
