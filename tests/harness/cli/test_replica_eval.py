"""`harness eval` of an endpoint with two addresses, each a process that may be killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.reports.flat import COLUMNS

Start = Callable[..., "subprocess.Popen[str]"]
ASKED = ("eval", "--endpoint", "far", "--task", "assoc_recall", "--size", "4", "--quiet")


@pytest.fixture
def start(workplace: Any) -> Iterator[Start]:
    """Starts a fake with a script at `NAME.sock`, and waits until it listens."""
    processes: list[subprocess.Popen[str]] = []

    def starting(name: str, **script: Any) -> "subprocess.Popen[str]":
        folder = workplace.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "fake.json").write_text(json.dumps(script))
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "harness.fakes.fake_server", str(folder)),
                *("--listen", address(workplace, name)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stderr
        assert "listening" in process.stderr.readline()
        return process

    (workplace.folder / "endpoints.toml").write_text(
        f'[far]\naddress = ["{address(workplace, "a")}", "{address(workplace, "b")}"]\n'
    )
    yield starting
    for process in processes:
        process.kill()
        process.communicate(timeout=600)


def address(workplace: Any, name: str) -> str:
    return f"unix:{workplace.temporary}/{name}.sock"


def test_one_of_two_killed_midway_loses_nothing_and_doubles_nothing(
    workplace: Any, start: Start
) -> None:
    first = start("a", delay_s=0.02)
    start("b", delay_s=0.02)
    process = workplace.start(*ASKED, "--samples", "120", "--concurrency", "8", "--json")
    workplace.wait_for_samples(20)
    os.kill(first.pid, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    row = json.loads(stdout)
    assert (row["n"], row["correct"], row["errored"]) == (120, 120, 0)
    samples = workplace.samples()
    assert len({one["address"] for one in samples}) == len(samples) == 120
    assert {one["answered_by"] for one in samples} == {
        address(workplace, "a"),
        address(workplace, "b"),
    }
    assert samples[-1]["answered_by"] == address(workplace, "b")
    exported = workplace.run("export", workplace.only_run().name, "--jsonl", "s.jsonl")
    assert exported.exit_code == 0, exported.stderr
    line = (workplace.folder / "s.jsonl").read_text().splitlines()[0]
    assert list(json.loads(line)) == list(COLUMNS)
    assert json.loads(line)["answered_by"] == samples[0]["answered_by"]


def test_different_digests_are_refused_before_anything_is_asked(
    workplace: Any, start: Start
) -> None:
    start("a")
    start("b", version=2)
    result = workplace.run(*ASKED, "--samples", "4")
    assert result.exit_code == 2
    assert "its addresses do not serve the same" in result.stderr
    assert f"at {address(workplace, 'a')}; " in result.stderr
    assert not list(workplace.folder.glob("runs/*"))


def test_what_asks_one_address_alone_refuses_several(workplace: Any, start: Start) -> None:
    del start
    served = workplace.run("serve", "openai", "--endpoint", "far", "--listen", "127.0.0.1:0")
    assert served.exit_code == 2
    assert "several addresses" in served.stderr
    held = workplace.run("endpoints", "check", "far", "--conformance")
    assert held.exit_code == 2
    assert "several addresses: name one of them" in held.stderr
