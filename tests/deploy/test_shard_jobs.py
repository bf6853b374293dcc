"""The examples that ask a run in shards: their schema, and their commands run as a cluster does."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "deploy" / "shards.slurm"
JOB = yaml.safe_load((ROOT / "deploy" / "shards.kubernetes.yaml").read_text())
CONTAINER = JOB["spec"]["template"]["spec"]["containers"][0]
EVAL = "--endpoint rnn-rag --task assoc_recall --size 2 --samples 4 -q"
# The real command line; the fake is in the place of the model's server.
HARNESS = f"""#!{sys.executable}
from harness.cli import main
from harness.cli.dependencies import Dependencies
from harness.fleet.plans import Program
main(obj=Dependencies(model_server=Program(module="harness.fakes.fake_server")))
"""


def test_the_job_keeps_to_the_schema_of_kubernetes() -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="the schemas are not installed")
    schemas.validate(JOB, schemas.latest_version(), strict=True)


def test_both_have_as_many_tasks_as_shards() -> None:
    [last] = re.findall(r"^#SBATCH --array=0-(\d+)$", SLURM.read_text(), re.M)
    [shards] = re.findall(r"\$\{SHARDS:-(\d+)\}", SLURM.read_text())
    assert int(last) + 1 == int(shards)
    environment = {one["name"]: one["value"] for one in CONTAINER["env"]}
    assert int(environment["SHARDS"]) == JOB["spec"]["completions"]


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    """Runs a command where `harness` is on the path; the last shard's first try is of no use."""
    (tmp_path / "rnn").mkdir()
    (tmp_path / "rnn" / "fake.json").write_text("{}")
    (tmp_path / "endpoints.toml").write_text('[rnn-rag]\ncheckpoint = "rnn"\nretrieval = true\n')
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "harness"
    program.write_text(HARNESS)
    program.chmod(0o755)

    def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        python_path = os.pathsep.join(p for p in sys.path if p)
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "PYTHONPATH": python_path, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    return run


@pytest.mark.parametrize(
    ("command", "index_name", "folder"),
    [
        (["sh", str(SLURM)], "SLURM_ARRAY_TASK_ID", "runs/shards"),
        (CONTAINER["command"], "JOB_COMPLETION_INDEX", "shards"),
    ],
    ids=["slurm", "kubernetes"],
)
def test_its_tasks_make_shards_that_merge(
    cluster: Any, tmp_path: Path, command: list[str], index_name: str, folder: str
) -> None:
    # What a task leaves that was stopped before its first sample.
    (tmp_path / folder / "1" / "20260101T000000Z-0000").mkdir(parents=True)
    for index in ("0", "1"):
        done = cluster(*command, SHARDS="2", EVAL=EVAL, **{index_name: index})
        assert done.returncode == 0, done.stderr
    [shard] = (tmp_path / folder / "1").iterdir()
    samples = (shard / "samples.jsonl").read_text().splitlines()
    (shard / "samples.jsonl").write_text(samples[0] + "\n")
    again = cluster(*command, SHARDS="2", EVAL=EVAL, **{index_name: "1"})
    assert again.returncode == 0, again.stderr
    assert (shard / "samples.jsonl").read_text().splitlines()[0] == samples[0]
    merged = cluster("sh", "-c", f"harness merge {folder}/*/* --out merged")
    assert merged.returncode == 0, merged.stderr
    assert len((tmp_path / "merged" / "samples.jsonl").read_text().splitlines()) == 4
