"""Files of a run that cannot be read: each is named, and none is taken for an empty one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.reports.collect import read_report
from harness.runs.lines import DamagedError
from harness.runs.manifest import read_manifest
from harness.runs.rescoring import rescore
from harness.runs.store import RunStore
from harness.runs.summary import summarize

STORED = Path(__file__).parent / "stored_runs" / "language-model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("name", ["samples.jsonl", "errors.jsonl", "manifest.json"])
@pytest.mark.parametrize("make", [link_to_itself, link_to_nothing, Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_named_and_not_waited_for(
    folder: Path, name: str, make: Callable[[Path], None]
) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    make(path)
    for read in (summarize, lambda run: rescore(run, in_place=False)):
        with pytest.raises(InputError, match=name):
            read(folder)
    if name != "manifest.json":
        with pytest.raises(InputError, match=name):
            RunStore(folder)
    report = read_report([folder], lambda _: lambda _: None)
    assert not report.runs
    assert name in report.damaged[0]


def test_a_link_to_a_file_is_that_file(folder: Path, tmp_path: Path) -> None:
    whole = summarize(folder)
    (folder / "samples.jsonl").rename(tmp_path / "elsewhere")
    (folder / "samples.jsonl").symlink_to(tmp_path / "elsewhere")
    assert summarize(folder) == whole


def test_a_run_of_a_newer_version_is_not_to_be_restored(folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    assert '"format": 1' in text
    path.write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(InputError) as caught:
        read_manifest(folder)
    [said] = read_report([folder], lambda _: lambda _: None).damaged
    assert said == str(caught.value)
    assert said.endswith("format 2, this version reads 1")
    assert not isinstance(caught.value, DamagedError)
