"""A run in shards is the run undivided: what is asked, what is stored, what is refused."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shards import outcomes
from harness.runs.manifest import read_manifest, write_manifest
from harness.runs.shard import Shard
from harness.runs.store import RunStore

# Of counting at size 1 few samples differ.
GRID = ("--endpoint", "rnn,rnn-rag", "--task", "assoc_recall,counting", "--size", "1,2")


def cells(folder: Path) -> Any:
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest["options"], manifest["cells"], manifest["endpoints"], manifest["refused"]


def evaluate(workplace: Any, out: str, *more: str) -> Path:
    result = workplace.run("eval", *GRID, "--samples", "20", "--repeats", "2", "--out", out, *more)
    assert result.exit_code in {0, 4}, result.output
    [folder] = (workplace.folder / out).iterdir()
    return Path(folder)


def test_merged_shards_are_the_run_undivided(workplace: Any) -> None:
    workplace.script(wrong_share=0.3)
    whole = evaluate(workplace, "whole")
    shards = [evaluate(workplace, f"of3/{i}", "--shard", f"{i}/3") for i in range(3)]
    for number, shard in enumerate(shards):
        assert {int(key[1].rpartition("=")[2]) % 3 for key in outcomes(shard)} <= {number}
    merged = workplace.run("merge", *map(str, shards), "--out", "runs/merged", "--json")
    assert merged.exit_code == 0, merged.output
    assert outcomes(Path("runs/merged")) == outcomes(whole)
    assert cells(Path("runs/merged")) == cells(whole)
    rows = [json.loads(line) for line in merged.stdout.splitlines()]
    assert [row["run"] for row in rows] == ["merged"] * len(rows)
    assert sum(row["n"] for row in rows) == len(outcomes(whole))
    assert "nothing is left to do" in workplace.run("eval", "--resume", "merged").stderr


@pytest.fixture
def shards(stored: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three runs on disk that are the shards of one of nine samples."""
    monkeypatch.chdir(tmp_path)
    cell = stored.cell("rnn")
    samples = [stored.sample(cell, index, is_right=index % 2 == 0) for index in range(9)]
    return [make(stored, tmp_path / f"s{number}", cell, samples, number) for number in range(3)]


def make(stored: Any, folder: Path, cell: Any, samples: Any, number: int) -> Path:
    stored.run(folder, {cell: samples})
    manifest = read_manifest(folder)
    options = replace(manifest.options, shard=Shard(number, 3))
    write_manifest(folder, replace(manifest, options=options))
    lines = [json.dumps(line) for line in samples[number::3]]
    (folder / "samples.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture
def merge(workplace: Any) -> Any:
    return lambda *folders: workplace.run("merge", *map(str, folders), "--out", "merged")


def change(folder: Path, **fields: Any) -> None:
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, options=replace(manifest.options, **fields)))


def test_missing_samples_are_named_and_the_merged_run_goes_on(shards: Any, merge: Any) -> None:
    path = shards[1] / "samples.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    result = merge(*shards)
    assert result.exit_code == 4
    assert f"shard 1/3 ({shards[1]}): 2 samples of" in result.stderr
    assert "index 4, 7\n" in result.stderr
    assert "harness eval --resume merged" in result.stderr
    assert read_manifest(Path("merged")).num_samples == 9
    assert json.loads(Path("merged/summary.json").read_text())["missing"] == 2


def test_missing_shards_are_named_and_nothing_is_written(shards: Any, merge: Any) -> None:
    result = merge(shards[1])
    assert result.exit_code == 2
    assert "2 of 3 shards are missing: 0/3, 2/3" in result.stderr
    assert not Path("merged").exists()


def test_shards_of_different_runs_are_refused_by_what_differs(shards: Any, merge: Any) -> None:
    change(shards[2], seed=7)
    result = merge(*shards)
    assert result.exit_code == 2
    assert "--seed: the run has 0, the other 7" in result.stderr
    assert not Path("merged").exists()


def test_shards_of_different_models_are_refused(shards: Any, merge: Any) -> None:
    manifest = read_manifest(shards[2])
    [endpoint] = manifest.endpoints
    model = replace(endpoint.model, checkpoint_digest="1" * 64)
    write_manifest(shards[2], replace(manifest, endpoints=(replace(endpoint, model=model),)))
    result = merge(*shards)
    assert result.exit_code == 2
    assert "endpoint rnn, checkpoint_digest: the run has 000" in result.stderr


def test_shards_of_another_division_are_refused(shards: Any, merge: Any) -> None:
    change(shards[2], shard=Shard(2, 4))
    result = merge(*shards)
    assert result.exit_code == 2
    assert "--shard: the run has 0/3, the other 2/4" in result.stderr


def test_a_shard_that_is_there_twice_is_refused(shards: Any, merge: Any) -> None:
    change(shards[2], shard=Shard(1, 3))
    result = merge(*shards)
    assert result.exit_code == 2
    assert f"{shards[1]} and {shards[2]} are both shard 1/3" in result.stderr


def test_a_run_that_is_no_shard_is_refused(shards: Any, merge: Any) -> None:
    change(shards[0], shard=None)
    result = merge(*shards)
    assert result.exit_code == 2
    assert f"{shards[0]} is no shard" in result.stderr


def test_a_sample_of_another_shard_is_damage(shards: Any, merge: Any) -> None:
    (shards[0] / "samples.jsonl").write_bytes((shards[1] / "samples.jsonl").read_bytes())
    result = merge(*shards)
    assert result.exit_code == 2
    assert "samples.jsonl, line 1: the run does not ask sample" in result.stderr
    assert not Path("merged").exists()


def test_a_shard_that_is_worked_on_is_refused(shards: Any, merge: Any) -> None:
    store = RunStore(shards[1])
    result = merge(*shards)
    store.close()
    assert result.exit_code == 2
    assert "is being worked on by another process" in result.stderr


def test_nothing_is_written_over(shards: Any, merge: Any) -> None:
    Path("merged").mkdir()
    result = merge(*shards)
    assert result.exit_code == 2
    assert "merged is there already" in result.stderr


@pytest.mark.parametrize("shard", ["16/16", "-1/16", "3", "3/0", "a/b", "3/16/2", ""])
def test_a_shard_that_is_none_is_refused_before_anything_starts(workplace: Any, shard: str) -> None:
    result = workplace.run(
        "eval", "--endpoint", "rnn", "--task", "assoc_recall", f"--shard={shard}"
    )
    assert result.exit_code == 2
    assert "--shard" in result.stderr
    assert not (workplace.folder / "runs").exists()


def test_a_shard_with_nothing_to_ask_is_complete(workplace: Any) -> None:
    asked = ("eval", "--endpoint", "rnn", "--task", "assoc_recall", "--size", "2")
    result = workplace.run(*asked, "--samples", "2", "--shard", "5/6", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["n"] == 0


def test_a_shard_that_was_killed_goes_on_as_the_same_shard(workplace: Any) -> None:
    workplace.script(delay_s=0.01)
    asked = ("eval", "--endpoint", "rnn", "--task", "assoc_recall", "--size", "2")
    process = workplace.start(*asked, "--samples", "60", "--shard", "1/2", "--concurrency", "1")
    workplace.wait_for_samples(3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = workplace.only_run()
    other = workplace.run("eval", "--resume", run.name, "--shard", "0/2")
    assert other.exit_code == 2
    assert "--shard: the run has 1/2, the command 0/2" in other.stderr
    assert workplace.run("eval", "--resume", run.name).exit_code == 0
    indices = [int(one["address"].rpartition("=")[2]) for one in workplace.samples()]
    assert sorted(indices) == list(range(1, 60, 2))
