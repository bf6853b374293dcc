"""Samples divided among the workers of Ray: the run is the one of a single process."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.processes import ray_workers
from benchmarks.shards import outcomes

ASKED = ("eval", "--endpoint", "rnn,rnn-rag", "--task", "assoc_recall,counting", "--size", "1,2")


def asked_of(folder: Path) -> Any:
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest["options"], manifest["cells"], manifest["refused"], manifest["endpoints"]


def finish(process: Any) -> str:
    stdout, stderr = process.communicate(timeout=1200)
    assert process.returncode == 0, stdout + stderr
    return str(stderr)


@pytest.fixture
def whole(workplace: Any) -> Path:
    workplace.script(wrong_share=0.3, delay_s=0.01)
    result = workplace.run(*ASKED, "--samples", "60", "--out", "whole")
    assert result.exit_code == 0, result.stderr
    [folder] = Path("whole").iterdir()
    return folder


def test_two_workers_make_the_run_of_one_process(workplace: Any, whole: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    process = workplace.start(*ASKED, "--samples", "60", "--executor", "ray", "--workers", "2")
    stderr = finish(process)
    assert "2 workers: " in stderr
    assert outcomes(workplace.only_run()) == outcomes(whole)
    assert asked_of(workplace.only_run()) == asked_of(whole)
    assert not workplace.fakes_running()


def test_the_shard_of_a_worker_that_is_killed_is_done_again(workplace: Any, whole: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    process = workplace.start(
        *ASKED, "--samples", "60", "--executor", "ray", "--workers", "2", "--concurrency", "1"
    )
    workplace.wait_for_samples(10)
    os.kill(ray_workers(process.pid)[0], signal.SIGKILL)
    assert "its worker was lost, another one goes on" in finish(process)
    assert outcomes(workplace.only_run()) == outcomes(whole)


def test_a_run_that_was_killed_goes_on_with_workers(workplace: Any, whole: Path) -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    process = workplace.start(*ASKED, "--samples", "60", "--concurrency", "1")
    workplace.wait_for_samples(10)
    process.kill()
    process.communicate()
    run = workplace.only_run()
    before = (run / "samples.jsonl").read_text().splitlines()
    finish(workplace.start("eval", "--resume", run.name, "--executor", "ray", "--workers", "2"))
    assert outcomes(run) == outcomes(whole)
    assert (run / "samples.jsonl").read_text().splitlines()[: len(before) - 1] == before[:-1]
    assert len(json.loads((run / "manifest.json").read_text())["sessions"]) == 2


def test_without_ray_its_extra_is_named_before_anything_starts(
    workplace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    result = workplace.run(*ASKED, "--executor", "ray")
    assert result.exit_code == 2
    assert "pip install 'recall-harness[ray]'" in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--executor", "dask"), "'dask' is no executor"),
        (("--executor", "ray="), "'ray=' is no executor"),
        (("--workers", "2"), "--workers needs --executor"),
        (("--executor", "ray", "--shard", "0/2"), "--executor and --shard exclude each other"),
        (("--executor", "ray", "--max-tokens-total", "9"), "exclude each other"),
    ],
)
def test_what_makes_no_sense_is_refused(workplace: Any, given: tuple[str, ...], told: str) -> None:
    result = workplace.run(*ASKED, *given)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not Path("runs").exists()
