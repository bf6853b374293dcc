"""Runs of a task of a file: what they keep, and what of them needs the file again."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness import plugins
from harness.tasks import choosing, foreign

SPEC = "./latest.py:Latest"
EVAL = ("eval", "--endpoint", "rnn-rag", "--task", SPEC, "--size", "4", "--samples", "20")


def forget() -> None:
    """A command is a process of its own: it reads the file anew."""
    for one in (choosing._foreign, foreign._run_file, plugins.brought):
        one.cache_clear()


@pytest.fixture
def place(workplace: Any, tutorial_task: Callable[[str], str]) -> Any:
    """The task of the tutorial beside endpoints.toml."""
    (workplace.folder / "latest.py").write_text(tutorial_task("recent"))
    forget()
    yield workplace
    forget()


@pytest.fixture
def half(place: Any) -> Any:
    """A run of 20 samples of which the last 8 are missing; the file is to be read anew."""
    result = place.run(*EVAL)
    assert result.exit_code == 0, result.stderr
    path = place.only_run() / "samples.jsonl"
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:12]))
    forget()
    return place


def test_a_run_keeps_the_name_the_file_and_its_digest(place: Any) -> None:
    result = place.run(*EVAL, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["task"] == "recent"
    options = json.loads((place.only_run() / "manifest.json").read_text())["options"]
    source = options["task_source"]["recent"]
    path = place.folder / "latest.py"
    assert (options["task"], source["spec"]) == (["recent"], f"{path}:Latest")
    assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert place.samples()[0]["address"].startswith("recent/size=4/test/seed=0/")


def test_a_run_goes_on_with_the_file_that_it_began_with(half: Any) -> None:
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 0, result.stderr
    assert len({sample["address"] for sample in half.samples()}) == len(half.samples()) == 20


def test_a_run_goes_on_where_the_file_was_moved_to(half: Any) -> None:
    (half.folder / "elsewhere").mkdir()
    (half.folder / "latest.py").rename(half.folder / "elsewhere" / "moved.py")
    run = half.only_run().name
    gone = half.run("eval", "--resume", run)
    assert gone.exit_code == 2
    assert f"no task can be read from {half.folder}/latest.py" in gone.stderr
    assert len(half.samples()) == 12
    forget()
    result = half.run("eval", "--resume", run, "--task", "elsewhere/moved.py:Latest")
    assert result.exit_code == 0, result.stderr
    assert len(half.samples()) == 20


def test_a_run_does_not_go_on_with_another_file(half: Any) -> None:
    path = half.folder / "latest.py"
    path.write_text(path.read_text() + "\n# changed\n")
    result = half.run("eval", "--resume", half.only_run().name)
    assert result.exit_code == 2
    assert f"task recent: the run asks that of {path}:Latest (SHA-256 " in result.stderr
    assert len(half.samples()) == 12


def test_a_stored_run_is_read_and_scored_anew_without_the_file(half: Any) -> None:
    (half.folder / "latest.py").unlink()
    run = half.only_run().name
    for command in (
        ("report", run),
        ("report", run, "--html", "report.html"),
        ("rescore", run),
        ("export", run, "--csv", "samples.csv"),
        ("compare", run, run, "--task", SPEC),
    ):
        result = half.run(*command)
        assert result.exit_code == 0, (command, result.stderr)
    assert "recent" in (half.folder / "report.html").read_text()


def test_plain_language_is_judged_by_the_wording_that_was_stored(place: Any) -> None:
    path = place.folder / "latest.py"
    text = path.read_text().replace(
        "    abbreviations = (", "    wording = Wording(is_list=True)\n    abbreviations = ("
    )
    path.write_text(f"from harness.scoring.wording import Wording\n{text}")
    place.script(styles=["natural"])
    result = place.run(*EVAL, "--prompting", "direct", "--json")
    assert result.exit_code == 0, result.stderr
    path.unlink()
    forget()
    row = json.loads(place.run("report", place.only_run().name, "--json").stdout)
    assert row["lenient_accuracy"] is not None
    manifest = json.loads((place.only_run() / "manifest.json").read_text())
    assert manifest["options"]["task_source"]["recent"]["wording"]["is_list"] is True


def test_a_broken_task_ends_the_command_before_anything_starts(place: Any) -> None:
    path = place.folder / "latest.py"
    path.write_text(path.read_text().replace("return self._own[-1]", "return self._own[9]"))
    result = place.run(*EVAL)
    assert result.exit_code == 2
    assert f"task '{path}:Latest' at size 1: Updates.target failed: IndexError" in result.stderr
    assert "latest.py, in target" in result.stderr
    assert "starting" not in result.stderr
    assert not (place.folder / "runs").exists()


def test_a_size_that_breaks_is_refused_and_the_others_are_asked(place: Any) -> None:
    path = place.folder / "latest.py"
    broken = "return self._own[-1 if len(self.keys) != 32 else 99]"
    path.write_text(path.read_text().replace("return self._own[-1]", broken))
    result = place.run(*EVAL[:5], "--size", "4,32", "--samples", "5")
    assert result.exit_code == 4, result.stderr
    assert "recent at size 32: Updates.target failed: IndexError" in result.stderr
    assert {sample["address"].split("/")[1] for sample in place.samples()} == {"size=4"}


def test_a_fault_in_a_late_sample_leaves_the_cell_out_and_what_was_done_stored(place: Any) -> None:
    path = place.folder / "latest.py"
    drawn = "        own = generator.sample("
    path.write_text(
        path.read_text().replace(drawn, f"        {'[0][CALLS.__next__() // 150]'}\n{drawn}")
        + "\n\nfrom itertools import count\n\nCALLS = count()\n"
    )
    result = place.run(*EVAL[:-1], "200", "--concurrency", "1")
    assert result.exit_code == 4, result.stderr
    assert "IndexError: list index out of range (line" in result.stderr
    assert "the cell is left out" in result.stderr
    assert place.samples()


def test_parameters_and_samples_of_a_file_are_shown(place: Any) -> None:
    assert "address    recent/size=3/" in place.run("tasks", "sample", SPEC, "--size", "3").stdout
    assert "recent: pairs of a key and a value" in place.run("tasks", "show", SPEC).stdout
    wrong = place.run("tasks", "sample", SPEC, "-T", "keys=3")
    assert (wrong.exit_code, "unknown parameter of recent 'keys'" in wrong.stderr) == (2, True)


def test_a_packages_task_is_listed_and_asked(place: Any) -> None:
    """As an installer leaves it: modules, and metadata with their entry points."""
    site = place.folder / "site"
    info = site / "my_tasks-2.5.dist-info"
    info.mkdir(parents=True)
    (place.folder / "latest.py").rename(site / "my_tasks.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-tasks\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(
        f"[{foreign.ENTRY_POINTS}]\nrecent = my_tasks:Latest\nindex = my_tasks:Latest\n"
    )

    def harness(*arguments: str) -> "subprocess.CompletedProcess[str]":
        path = os.pathsep.join([str(site), *(one for one in sys.path if one)])
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    listed = harness("tasks", "list").stdout
    assert "the answer is the last value of a key (my-tasks 2.5)" in listed
    assert "cannot be asked: task 'index' is ours (harness.tasks.index)" in listed
    assert "last value" in harness("tasks", "show", "recent").stdout
    clash = harness("tasks", "show", "index")
    assert clash.returncode == 2
    assert "my-tasks 2.5 brings one of that name (my_tasks:Latest)" in clash.stderr
