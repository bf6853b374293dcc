"""What a crash or a copy leaves in a run's files costs what it covers, and no more."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EVAL = ("eval", "--endpoint", "rnn", "--task", "assoc_recall", "--size", "4")
NUM = 12
DEEP = b'{"a":' + b"[" * 100_000


def joined(lines: list[bytes]) -> bytes:
    return b"".join(lines)


def half_with_the_next_behind_it(lines: list[bytes]) -> bytes:
    return joined([*lines[:4], lines[4][:150], *lines[5:]])


# What is done to the file, and how many samples it costs.
LEFTOVERS: dict[str, tuple[Callable[[list[bytes]], bytes], int]] = {
    "the last line twice": (lambda lines: joined([*lines, lines[-1]]), 0),
    "the whole file twice": (lambda lines: joined(lines * 2), 0),
    "lines of a copy in the middle": (lambda lines: joined([*lines[:5], *lines[2:]]), 0),
    "no newline at the end": (lambda lines: joined(lines)[:-1], 0),
    "half a line at the end": (lambda lines: joined(lines)[:-70], 1),
    "half a line twice": (lambda lines: joined([*lines, lines[0][:99]]), 0),
    "half a line in the middle": (half_with_the_next_behind_it, 1),
    "a half line at a comma": (
        lambda lines: joined([*lines[:4], lines[4].partition(b'"address":')[0], *lines[4:]]),
        0,
    ),
    "NULs at the end": (lambda lines: joined(lines) + bytes(5000), 0),
    "NULs in place of the end": (lambda lines: joined(lines)[:-70] + bytes(70), 1),
    "NULs in the middle": (lambda lines: joined([*lines[:4], bytes(99), *lines[4:]]), 0),
    "NULs and a newline": (lambda lines: joined(lines) + bytes(99) + b"\n", 0),
    "garbage at the end": (lambda lines: joined(lines) + b"\xff\x00gar\nba\x80ge\n\n{", 0),
    "half a line and garbage": (lambda lines: joined(lines)[:-70] + b"\nNo space left\n", 1),
    "empty lines at the end": (lambda lines: joined(lines) + b"\n\n\n", 0),
    "half a deep value at the end": (lambda lines: joined(lines) + DEEP, 0),
}


@pytest.fixture(scope="module")
def asked_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test leaves its run for the others: each damages a copy."""
    return tmp_path_factory.mktemp("asked") / "runs"


@pytest.fixture
def run(workplace: Any, asked_once: Path) -> Path:
    if asked_once.exists():
        shutil.copytree(asked_once, workplace.folder / "runs")
    else:
        result = workplace.run(*EVAL, "--samples", str(NUM))
        assert result.exit_code == 0, result.stderr
        shutil.copytree(workplace.folder / "runs", asked_once)
    folder: Path = workplace.only_run()
    return folder


def samples(folder: Path) -> list[bytes]:
    return (folder / "samples.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture(params=list(LEFTOVERS))
def damaged(request: Any, run: Path) -> tuple[Path, int]:
    """The run, and how many of its samples are left."""
    damage, cost = LEFTOVERS[request.param]
    (run / "samples.jsonl").write_bytes(damage(samples(run)))
    return run, NUM - cost


def test_every_command_that_reads_a_run_passes_it_over(
    workplace: Any, damaged: tuple[Path, int]
) -> None:
    folder, num_left = damaged
    before = (folder / "samples.jsonl").read_bytes()
    name = folder.name
    reported = workplace.run("report", name, "--json")
    assert reported.exit_code == 0, reported.stderr
    assert json.loads(reported.stdout)["n"] == num_left
    compared = workplace.run("compare", name, name, "--json")
    assert (compared.exit_code, json.loads(compared.stdout)["n"]) == (0, num_left)
    exported = workplace.run("export", name, "--jsonl", "s.jsonl")
    assert exported.exit_code == 0, exported.stderr
    assert f"{num_left} samples written" in exported.stdout
    assert workplace.run("rescore", name, "--json").exit_code == 0
    assert (folder / "samples.jsonl").read_bytes() == before


def test_a_resumed_run_is_whole_again_and_asks_what_is_missing(
    workplace: Any, damaged: tuple[Path, int]
) -> None:
    folder, num_left = damaged
    before = (folder / "samples.jsonl").read_bytes()
    result = workplace.run("eval", "--resume", folder.name, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["n"] == NUM
    assert "samples.jsonl: " in result.stderr
    lines = samples(folder)
    assert len(lines) == NUM
    assert len({json.loads(line)["address"] for line in lines}) == NUM
    assert sum(line.strip() in before for line in lines) == num_left
    again = workplace.run("eval", "--resume", folder.name, "--json")
    assert "samples.jsonl: " not in again.stderr


def test_a_run_is_mended_before_it_is_scored_in_place(
    workplace: Any, damaged: tuple[Path, int]
) -> None:
    folder, num_left = damaged
    result = workplace.run("rescore", folder.name, "--in-place", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["samples"] == num_left
    assert [json.loads(line)["verdict"] for line in samples(folder)] == ["correct"] * num_left


def test_what_is_taken_out_is_kept_aside_and_said(workplace: Any, run: Path) -> None:
    whole = samples(run)
    torn = whole[4][:150]
    (run / "samples.jsonl").write_bytes(joined([*whole[:4], torn, *whole[5:], b"garbage\n"]))
    result = workplace.run("eval", "--resume", run.name, "--json")
    assert (run / "samples.jsonl.set-aside").read_bytes() == torn + b"\n" + b"garbage\n"
    assert "157 bytes that are no line are now in samples.jsonl.set-aside" in result.stderr
    # Another time adds to it.
    with (run / "samples.jsonl").open("ab") as file:
        file.write(b"more")
    workplace.run("eval", "--resume", run.name, "--json")
    assert (run / "samples.jsonl.set-aside").read_bytes().endswith(b"garbage\nmore\n")


def named(workplace: Any, run: Path, words: str) -> None:
    """By whatever reads it; nothing is changed."""
    before = {path: path.read_bytes() for path in run.iterdir()}
    name = run.name
    for command, status in (
        (("report", name, "--json"), 4),
        (("compare", name, name), 2),
        (("export", name, "--csv", "s.csv"), 2),
        (("rescore", name), 2),
        (("rescore", name, "--in-place"), 2),
        (("eval", "--resume", name), 2),
    ):
        result = workplace.run(*command)
        assert (result.exit_code, command) == (status, command)
        assert words in result.stderr
        assert isinstance(result.exception, SystemExit)
    assert {path: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"garbage\n", "JSON is malformed"),
        (b'{"cell":"x","addr\n', "invalid character"),
        (b'{"cell":3}\n', "Expected `str`, got `int`"),
        (DEEP + b"]" * 100_000 + b"}\n", "recursion"),
        (b"\n", "truncated"),
    ],
)
def test_what_nothing_that_stopped_can_have_left_is_named_by_its_line(
    workplace: Any, run: Path, line: bytes, reason: str
) -> None:
    whole = samples(run)
    (run / "samples.jsonl").write_bytes(joined([*whole[:4], line, *whole[4:]]))
    named(workplace, run, "samples.jsonl, line 5: ")
    assert reason.lower() in workplace.run("report", run.name).stderr.lower()


def test_two_lines_of_a_sample_that_differ_are_named(workplace: Any, run: Path) -> None:
    whole = samples(run)
    other = whole[2].replace(b'"num_attempts":1', b'"num_attempts":2')
    assert other != whole[2]
    (run / "samples.jsonl").write_bytes(joined([*whole, other]))
    named(workplace, run, f"samples.jsonl, line {NUM + 1}: sample assoc_recall")


def test_a_deep_value_at_the_end_is_named_too(workplace: Any, run: Path) -> None:
    """A whole line was written so."""
    with (run / "samples.jsonl").open("ab") as file:
        file.write(DEEP + b"]" * 100_000 + b"}\n")
    named(workplace, run, f"samples.jsonl, line {NUM + 1}: ")


def test_a_file_that_grew_over_the_memory_and_was_never_written_is_read(
    workplace: Any, run: Path
) -> None:
    """As a file system may leave it: half a terabyte of NULs, which take no place."""
    before = (run / "samples.jsonl").read_bytes()
    os.truncate(run / "samples.jsonl", 2**39)
    reported = workplace.run("report", run.name, "--json")
    assert json.loads(reported.stdout)["n"] == NUM
    assert workplace.run("eval", "--resume", run.name).exit_code == 0
    assert (run / "samples.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "left",
    [b"half", b"garbage\n", bytes(100), b"\n", DEEP],
    ids=["half", "no JSON", "0", "", "deep"],
)
def test_so_it_is_with_the_file_of_errors(workplace: Any, run: Path, left: bytes) -> None:
    line = json.loads(samples(run)[0])
    error = json.dumps({"cell": line["cell"], "address": line["address"]}).encode() + b"\n"
    # A sample may err in the same way twice.
    (run / "errors.jsonl").write_bytes(error * 2 + left)
    for command in (("report", "--json"), ("export", "--csv", "s.csv"), ("rescore",)):
        result = workplace.run(command[0], run.name, *command[1:])
        assert result.exit_code == 0, result.stderr
    assert workplace.run("eval", "--resume", run.name).exit_code == 0
    assert (run / "errors.jsonl").read_bytes() == error * 2


def test_damage_in_the_middle_of_the_errors_is_named(workplace: Any, run: Path) -> None:
    line = json.loads(samples(run)[0])
    error = json.dumps({"cell": line["cell"], "address": line["address"]}).encode() + b"\n"
    (run / "errors.jsonl").write_bytes(error + b"garbage\n" + error)
    for command in (("report", "--json"), ("rescore",), ("eval", "--resume")):
        name = (run.name,) if command[0] != "eval" else ()
        result = workplace.run(command[0], *name, *command[1:], *(() if name else (run.name,)))
        assert result.exit_code in {2, 4}
        assert "errors.jsonl, line 2: " in result.stderr


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(2000),
        b"{",
        b"[" * 100_000,
        b'{"format": 1, "a": ' + b"[" * 100_000,
        b"\xff",
        b"1",
    ],
    ids=["empty", "NULs", "half", "deep", "deep within", "no text", "a number"],
)
def test_a_manifest_that_is_none_is_named(workplace: Any, run: Path, content: bytes) -> None:
    (run / "manifest.json").write_bytes(content)
    named(workplace, run, "manifest.json: no manifest that this version reads")


def test_a_manifest_over_the_memory_is_named(workplace: Any, run: Path) -> None:
    os.truncate(run / "manifest.json", 2**39)
    result = workplace.run("report", run.name)
    assert result.exit_code == 4
    assert "manifest.json: no manifest that this version reads" in result.stderr


@pytest.mark.parametrize("content", [b"", bytes(100), b"[" * 100_000], ids=["empty", "0", "deep"])
def test_a_damaged_summary_harms_nothing_and_is_written_anew(
    workplace: Any, run: Path, content: bytes
) -> None:
    (run / "summary.json").write_bytes(content)
    assert workplace.run("report", run.name).exit_code == 0
    assert workplace.run("eval", "--resume", run.name).exit_code == 0
    assert json.loads((run / "summary.json").read_bytes())["complete"] is True


def test_a_sample_that_is_asked_again_is_no_copy_of_itself(workplace: Any) -> None:
    assert workplace.run(*EVAL, "--samples", "4", "--repeats", "3").exit_code == 0
    folder = workplace.only_run()
    whole = samples(folder)
    (folder / "samples.jsonl").write_bytes(joined(whole * 2))
    reported = workplace.run("report", folder.name, "--json")
    assert (reported.exit_code, json.loads(reported.stdout)["n"]) == (0, 12)
    resumed = workplace.run("eval", "--resume", folder.name, "--json")
    assert "12 repeated lines dropped" in resumed.stderr
    assert samples(folder) == whole
    other = whole[5].replace(b'"num_attempts":1', b'"num_attempts":2')
    (folder / "samples.jsonl").write_bytes(joined([*whole, other]))
    named(workplace, folder, "samples.jsonl, line 13: sample assoc_recall")
