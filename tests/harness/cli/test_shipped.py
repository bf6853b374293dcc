"""The shipped checkpoint on the real server: what the README promises."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
WaitUntil = Callable[[Callable[[], object]], None]
Outcomes = dict[str, tuple[str, Any]]
INTERRUPTED = ("eval", "--endpoint", "rnn-rag", "--task", "assoc_recall", "--size", "32")
INTERRUPTED = (*INTERRUPTED, "--samples", "300", "--json")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def evaluate(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    process = start(folder, "eval", "--task", "assoc_recall", "--json", *arguments)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.mark.parametrize("mode", ["regex", "dense"])
@pytest.mark.parametrize("endpoint", ["rnn-rag", "ssm-rag"])
def test_a_recurrent_model_with_its_channel_recalls_at_every_size(
    tmp_path: Path, endpoint: str, mode: str
) -> None:
    rows = evaluate(
        tmp_path,
        *("--endpoint", endpoint, "--size", "16,32,64", "--samples", "100"),
        *("--seed", "90210", "--retrieval", mode),
    )
    assert [row["size"] for row in rows] == [16, 32, 64]
    for row in rows:
        assert row["accuracy"] >= 0.99
        assert row["searches_per_sample"] >= 1
        assert (row["errored"], row["retrieval"]) == (0, mode)
        assert (row["search_disagreements"], row["searches_unchecked"]) == (0, 0)


def test_the_rnn_alone_recalls_a_few_pairs_and_fewer_of_many(tmp_path: Path) -> None:
    small, large = evaluate(
        tmp_path,
        *("--endpoint", "rnn", "--prompting", "direct", "--size", "4,64"),
        *("--samples", "200", "--seed", "90210"),
    )
    assert small["accuracy"] >= 0.95
    assert large["accuracy"] < small["accuracy"] - 0.2


def test_the_hybrid_recalls_without_its_channel(tmp_path: Path) -> None:
    rows = evaluate(
        tmp_path,
        *("--endpoint", "hybrid", "--prompting", "direct,cot", "--size", "16,32,64"),
        *("--samples", "100", "--seed", "90210"),
    )
    assert len(rows) == 6
    assert all(row["accuracy"] >= 0.99 for row in rows)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    folder = tmp_path_factory.mktemp("undisturbed")
    return outcomes(folder, start(folder, *INTERRUPTED))


def test_a_killed_server_changes_no_result(
    tmp_path: Path, undisturbed: Outcomes, wait_until: WaitUntil
) -> None:
    process = start_and_freeze(tmp_path, wait_until)
    os.kill(child(process.pid), signal.SIGKILL)
    process.send_signal(signal.SIGCONT)
    assert outcomes(tmp_path, process) == undisturbed


def test_a_killed_run_changes_no_result(
    tmp_path: Path, undisturbed: Outcomes, wait_until: WaitUntil
) -> None:
    process = start_and_freeze(tmp_path, wait_until)
    process.kill()
    process.communicate(timeout=600)
    [run] = (tmp_path / "runs").iterdir()
    assert outcomes(tmp_path, start(tmp_path, "eval", "--resume", run.name)) == undisturbed


def start_and_freeze(folder: Path, wait_until: WaitUntil) -> "subprocess.Popen[str]":
    """A run that has begun, and stands still. One sample at a time: it is not over so soon."""
    process = start(folder, *INTERRUPTED, "--concurrency", "1")
    wait_until(lambda: num_samples(folder) > 0)
    process.send_signal(signal.SIGSTOP)
    return process


def num_samples(folder: Path) -> int:
    files = folder.glob("runs/*/samples.jsonl")
    return sum(file.read_bytes().count(b"\n") for file in files)


def outcomes(folder: Path, process: "subprocess.Popen[str]") -> Outcomes:
    """The verdict and the transcript of every sample, by its address."""
    stderr = process.communicate(timeout=600)[1]
    assert process.returncode == 0, stderr
    [run] = (folder / "runs").iterdir()
    lines = (run / "samples.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    found = {sample["address"]: (sample["verdict"], sample["transcript"]) for sample in samples}
    assert len(found) == len(samples) == 300
    return found


def child(pid: int) -> int:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True
    )
    return int(found.stdout.split()[0])
