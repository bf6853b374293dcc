"""The shipped checkpoint on the real server: what the README promises."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
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


def test_the_first_sample_is_scored_within_ten_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    process = start(tmp_path, "eval", "--endpoint", "rnn-rag", "--task", "assoc_recall")
    wait_for_samples(tmp_path, 1)
    assert time.monotonic() - began < 10
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stderr


def test_a_killed_server_and_a_killed_run_change_no_result(tmp_path: Path) -> None:
    options = ("--endpoint", "rnn-rag", "--task", "assoc_recall", "--size", "32")
    options += ("--samples", "300", "--concurrency", "4", "--json")
    whole = outcomes(tmp_path / "whole", options, interrupt=None)
    assert outcomes(tmp_path / "server", options, interrupt="server") == whole
    assert outcomes(tmp_path / "run", options, interrupt="run") == whole


def outcomes(
    folder: Path, options: tuple[str, ...], *, interrupt: str | None
) -> dict[str, tuple[str, Any]]:
    """The verdict and the transcript of every sample, by its address."""
    folder.mkdir()
    process = start(folder, "eval", *options)
    if interrupt is not None:
        wait_for_samples(folder, 20)
        os.kill(child(process.pid) if interrupt == "server" else process.pid, signal.SIGKILL)
    stderr = process.communicate(timeout=600)[1]
    [run] = (folder / "runs").iterdir()
    if interrupt == "run":
        process = start(folder, "eval", "--resume", run.name)
        stderr = process.communicate(timeout=600)[1]
    assert process.returncode == 0, stderr
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


def wait_for_samples(folder: Path, number: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        files = list(folder.glob("runs/*/samples.jsonl"))
        if files and files[0].read_bytes().count(b"\n") >= number:
            return
        time.sleep(0.02)
    raise TimeoutError(f"no {number} samples")
