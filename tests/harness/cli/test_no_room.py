"""A disk without room, at any write: exit 4, what was done is stored, and no traceback."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from harness.errors import IncompleteError
from harness.runs.records import ErrorRecord, SampleRecord
from harness.runs.store import RunStore

EVAL = ("eval", "--endpoint", "rnn", "--task", "assoc_recall", "--size", "4", "--out", "disk")
NO_ROOM = "no room left on the disk"


@pytest.fixture
def disk(workplace: Any) -> Iterator[Callable[[int], Path]]:
    """Makes `disk/` a disk of so many KiB."""
    folder = workplace.folder / "disk"
    folder.mkdir()

    def mount(num_kib: int) -> Path:
        option = f"size={num_kib}k"
        if (
            shutil.which("mount") is None
            or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", option, "tmpfs", folder],
                capture_output=True,
                check=False,
            ).returncode
        ):
            pytest.skip("this user cannot mount a small disk")
        return Path(folder)

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)


def fill(folder: Path) -> Path:
    """Leaves no byte; the file is what to remove."""
    path = folder / "filler"
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        return path


def told(result: Any) -> None:
    assert result.exit_code == 4, result.output
    assert NO_ROOM in result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_run_that_fills_the_disk_is_stored_as_far_as_it_came_and_goes_on(
    workplace: Any, disk: Any
) -> None:
    filler = disk(192) / "filler"
    filler.write_bytes(bytes(155_000))
    result = workplace.run(*EVAL, "--samples", "100", "--json")
    told(result)
    [folder] = [path for path in Path("disk").iterdir() if path.is_dir()]
    lines = (folder / "samples.jsonl").read_bytes().splitlines(keepends=True)
    assert 0 < len(lines) < 100
    assert all(line.endswith(b"\n") and json.loads(line) for line in lines)
    assert f"{100 - len(lines)} samples are missing; what was done is stored" in result.stderr
    assert f"harness eval --resume {folder}" in result.stderr
    assert json.loads(result.stdout)["n"] == len(lines)
    told(workplace.run("eval", "--resume", str(folder), "--json"))
    filler.unlink()
    resumed = workplace.run("eval", "--resume", str(folder), "--json")
    assert resumed.exit_code == 0, resumed.stderr
    assert json.loads(resumed.stdout)["n"] == 100
    assert [path.name for path in folder.iterdir() if "set-aside" in path.name] == []


def test_a_line_that_has_room_for_half_of_it_leaves_none(stored: Any, disk: Any) -> None:
    disk(64)
    cell = stored.cell("rnn")
    long = stored.sample(cell, 1, is_right=True, prompt="bab " * 5000)
    folder = stored.run(Path("disk/a"), {cell: [stored.sample(cell, 0, is_right=True)]})
    store = RunStore(folder)
    filler = fill(Path("disk"))
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - 8192)
    before = (folder / "samples.jsonl").read_bytes()
    with pytest.raises(IncompleteError, match=NO_ROOM):
        store.add(convert(long, SampleRecord))
    assert (folder / "samples.jsonl").read_bytes() == before
    # What fits is stored all the same, and the line before it is whole.
    store.add(convert(stored.sample(cell, 2, is_right=True), SampleRecord))
    fill(Path("disk"))
    error = {"code": "INTERNAL", "detail": "d" * 9000, "num_attempts": 1, "backoff_ms": 0.0}
    times = {"started_at_s": 1.0, "failed_at_s": 2.0, "faults": []}
    with pytest.raises(IncompleteError, match=r"errors.jsonl: no room left"):
        store.add_error(convert({**long, **error, **times}, ErrorRecord))
    assert (folder / "errors.jsonl").read_bytes() == b""
    store.close()
    lines = (folder / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["address"][-1] for line in lines] == ["0", "2"]


def test_a_run_whose_manifest_has_no_room_leaves_nothing(workplace: Any, disk: Any) -> None:
    fill(disk(32))
    told(workplace.run(*EVAL, "--samples", "2"))
    assert [path.name for path in Path("disk").iterdir()] == ["filler"]


def test_a_summary_without_room_hides_no_result(workplace: Any, stored: Any, disk: Any) -> None:
    disk(64)
    cell = stored.cell("rnn")
    stored.run(Path("disk/a"), {cell: [stored.sample(cell, i, is_right=True) for i in range(3)]})
    fill(Path("disk"))
    result = workplace.run("eval", "--resume", "disk/a", "--json")
    told(result)
    assert json.loads(result.stdout)["n"] == 3
    assert "harness report" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("report", "disk/a", "--html", "disk/r.html"),
        ("report", "disk/a", "--html", "r.html", "--samples-dir", "disk/pages"),
        ("export", "disk/a", "--csv", "disk/s.csv"),
        ("export", "disk/a", "--jsonl", "disk/s.jsonl"),
        ("export", "disk/a", "--parquet", "disk/s.parquet"),
        ("rescore", "disk/a"),
        ("rescore", "disk/a", "--in-place"),
    ],
)
def test_whatever_is_written_of_a_run_leaves_the_run_as_it_was(
    workplace: Any, stored: Any, disk: Any, command: tuple[str, ...]
) -> None:
    if "--parquet" in command:
        pytest.importorskip("pyarrow")
    disk(128)
    cell = stored.cell("rnn")
    samples = [stored.sample(cell, i, is_right=True, verdict="wrong") for i in range(30)]
    stored.run(Path("disk/a"), {cell: samples})
    fill(Path("disk"))
    before = (Path("disk/a/samples.jsonl")).read_bytes()
    told(workplace.run(*command))
    assert Path("disk/a/samples.jsonl").read_bytes() == before
    assert {path.name for path in Path("disk").iterdir()} <= {"a", "filler", "pages"}
    assert not list(Path("disk").rglob("*.new"))


def test_what_is_to_be_set_aside_without_room_stays_where_it_was(
    workplace: Any, stored: Any, disk: Any
) -> None:
    disk(64)
    cell = stored.cell("rnn")
    stored.run(Path("disk/a"), {cell: [stored.sample(cell, 0, is_right=True)]})
    with Path("disk/a/samples.jsonl").open("a") as file:
        file.write("half a li")
    fill(Path("disk"))
    before = (Path("disk/a/samples.jsonl")).read_bytes()
    told(workplace.run("rescore", "disk/a", "--in-place"))
    assert Path("disk/a/samples.jsonl").read_bytes() == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("--version",),
        ("tasks", "list"),
        ("tasks", "show", "copy"),
        ("report", "a"),
        ("report", "a", "--json"),
        ("compare", "a", "a"),
        ("rescore", "a"),
        ("export", "a", "--csv", "s.csv"),
        ("eval", "--resume", "a"),
    ],
)
def test_an_output_without_room_is_told_of_in_one_line(
    workplace: Any, stored: Any, command: tuple[str, ...]
) -> None:
    cell = stored.cell("rnn")
    stored.run(Path("runs/a"), {cell: [stored.sample(cell, 0, is_right=True)]})
    program = "import sys, os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    process = workplace.start_program(f"{program}from harness.cli import main\nmain()", *command)
    _, stderr = process.communicate(timeout=600)
    assert process.returncode == 4
    assert NO_ROOM in stderr
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    if command[0] == "eval":
        assert "harness report runs/a shows it" in stderr
        assert Path("runs/a/summary.json").exists()
