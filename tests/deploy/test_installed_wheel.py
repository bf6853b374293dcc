"""The wheel in an environment of its own, in a folder that knows nothing of the repository.

What it depends on is borrowed from the environment of the tests: nothing is downloaded.
"""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

Harness = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def installed(
    environment: Path,
    wheel_file: Path,
    tutorial_task: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The environment with the wheel, and with a package of somebody else."""
    other = tmp_path_factory.mktemp("other") / "my_tasks-2.5-py3-none-any.whl"
    info = "my_tasks-2.5.dist-info"
    with zipfile.ZipFile(other, "w") as wheel:
        wheel.writestr("my_tasks/__init__.py", tutorial_task("newest"))
        wheel.writestr(
            "my_tasks/endpoints.toml", '[theirs]\ncheckpoint = "weights"\nretrieval = true\n'
        )
        with zipfile.ZipFile(wheel_file) as ours:
            for name in ("config.json", "model.safetensors", "tokenizer.json"):
                wheel.writestr(
                    f"my_tasks/weights/{name}", ours.read(f"harness/checkpoints/rnn/{name}")
                )
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: my-tasks\nVersion: 2.5\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{info}/entry_points.txt",
            "[recall_harness.tasks]\nnewest = my_tasks:Latest\n"
            "[recall_harness.endpoints]\ntheirs = my_tasks\n",
        )
        wheel.writestr(f"{info}/RECORD", "")
    python = environment / "bin" / "python"
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall")
    subprocess.run([python, *install, str(wheel_file), str(other)], check=True)
    [site] = environment.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return environment


@pytest.fixture
def harness(installed: Path, tmp_path: Path) -> Harness:
    """The command, in a folder with nothing in it."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [installed / "bin" / "harness", *arguments],
            cwd=tmp_path,
            env=own,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_the_main_job_is_done_in_any_folder_with_tasks_of_a_file_and_of_a_package(
    harness: Harness, tmp_path: Path, tutorial_task: Callable[[str], str]
) -> None:
    (tmp_path / "latest.py").write_text(tutorial_task("recent"))
    tasks = "assoc_recall,./latest.py:Latest,newest"
    done = harness(
        *("eval", "--endpoint", "rnn-rag", "--task", tasks, "--size", "4"),
        *("--samples", "10", "--json"),
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["task"], row["n"]) for row in rows] == [
        ("assoc_recall", 10),
        ("recent", 10),
        ("newest", 10),
    ]
    # The shipped weights, not any others: they search, and are right.
    assert (rows[0]["accuracy"], rows[0]["searches_per_sample"]) == (1.0, 1.0)
    [run] = (tmp_path / "runs").iterdir()
    sources = json.loads((run / "manifest.json").read_text())["options"]["task_source"]
    assert sources["recent"]["spec"] == f"{tmp_path}/latest.py:Latest"
    assert sources["newest"]["package"] == "my-tasks 2.5"


def test_a_packages_endpoint_is_asked_with_the_weights_that_it_brings(harness: Harness) -> None:
    listed = harness("endpoints", "list").stdout
    assert "theirs: brought by my-tasks 2.5" in listed
    done = harness(
        *("eval", "--endpoint", "theirs", "--task", "assoc_recall", "--size", "4"),
        *("--samples", "5", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == 1.0
