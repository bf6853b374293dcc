"""Seven shards, two of them killed and resumed: is their merged run the undivided one?

`python -m benchmarks.shards` asks rnn-rag and ssm-rag one grid undivided
and in shards, ends two shards with SIGKILL on the way, resumes those, merges all, and compares the
runs: everything of each sample but its times.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import free_port, running, wait_started

ENDPOINTS: Final = ("rnn-rag", "ssm-rag")
_NUM_SHARDS: Final = 7
_KILLED: Final = (2, 5)
_START_S: Final = 900.0
_HARNESS: Final = (sys.executable, "-m", "harness")


def outcomes(run: Path) -> dict[tuple[str, str, int], Any]:
    """By cell, address and repeat: all that is stored of a sample but its times, and no call's id.

    Raises RuntimeError where one is there twice, or a line has no end.
    """
    found = {}
    text = (run / "samples.jsonl").read_text()
    if not text.endswith("\n"):
        raise RuntimeError(f"the last line of {run} has no end")
    for line in text.splitlines():
        record = json.loads(line)
        del record["times"]
        record.pop("request_id", None)
        for search in record["searches"]:
            del search["elapsed_ms"]
        key = record["cell"], record["address"], record["repeat"]
        if key in found:
            raise RuntimeError(f"{run} has {' '.join(map(str, key))} twice")
        found[key] = record
    return found


def differing(
    one: Mapping[tuple[str, str, int], Any], other: Mapping[tuple[str, str, int], Any]
) -> list[tuple[str, str, int]]:
    """The samples that are not in both, or not the same."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def evaluate(*arguments: str, out: Path) -> Path:
    """Runs `harness eval` to its end; the folder of its run."""
    subprocess.run([*_HARNESS, *arguments, "--out", str(out)], check=True, capture_output=True)
    return only_run(out)


def only_run(out: Path) -> Path:
    """The one run in a folder of runs."""
    [manifest] = out.glob("*/manifest.json")
    return manifest.parent


def killed_and_resumed(asked: tuple[str, ...], out: Path, after: int) -> Path:
    """The same, ended by SIGKILL once so many samples are stored, and resumed."""
    child = subprocess.Popen([*_HARNESS, *asked, "--out", str(out)], stderr=subprocess.DEVNULL)
    while child.poll() is None and num_lines(out) < after:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    if child.wait() != -signal.SIGKILL:
        raise RuntimeError("the shard was done before it was killed: take more samples")
    run = only_run(out)
    print(f"  killed with {num_lines(out)} lines stored, resumed", flush=True)
    subprocess.run([*_HARNESS, *asked, "--resume", str(run)], check=True, capture_output=True)
    return run


def num_lines(out: Path) -> int:
    """Samples that are stored, of all runs in a folder of runs."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob("*/samples.jsonl"))


def main() -> None:
    """Prints a line a shard, and whether the runs are the same; exits with 1 where they are not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=140, help="of each cell")
    parser.add_argument("--task", default="assoc_recall,counting")
    parser.add_argument("--size", default="4,16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        served = folder / "served.toml"
        served.write_text("".join(map(_table, ENDPOINTS)))
        up = [*_HARNESS, "up", "--endpoints", str(served), "--port", str(free_port())]
        up += ["--logs", str(folder / "up")]
        file, log = folder / "up" / "endpoints.toml", folder / "up.log"
        with running(up, log) as servers:
            wait_started(lambda: _has_text(file), servers, log, within_s=_START_S)
            is_same = compare(options, file, folder)
    sys.exit(not is_same)


def _table(endpoint: str) -> str:
    """Of a checkpoint that ships; a busy machine takes its time to start it."""
    checkpoint = Path("checkpoints", endpoint.removesuffix("-rag")).resolve()
    return (
        f'[{endpoint}]\ncheckpoint = "{checkpoint}"\nretrieval = true\n'
        f"start_timeout_s = {_START_S}\n"
    )


def _has_text(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def compare(options: argparse.Namespace, endpoints: Path, folder: Path) -> bool:
    """Asks the grid both ways; whether nothing differs."""
    asked: tuple[str, ...] = ("eval", "--endpoints", str(endpoints), "--endpoint", "all")
    asked += ("--task", options.task, "--size", options.size, "--samples", str(options.samples))
    whole = evaluate(*asked, out=folder / "whole")
    print(f"undivided: {len(outcomes(whole))} samples", flush=True)
    runs = []
    for number in range(_NUM_SHARDS):
        shard, out = (*asked, "--shard", f"{number}/{_NUM_SHARDS}"), folder / f"shard-{number}"
        print(f"shard {number}/{_NUM_SHARDS}", flush=True)
        if number in _KILLED:
            runs.append(killed_and_resumed((*shard, "--concurrency", "1"), out, after=5))
        else:
            runs.append(evaluate(*shard, out=out))
    merged = folder / "merged"
    command = [*_HARNESS, "merge", *map(str, runs), "--out", str(merged)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    different = differing(outcomes(whole), outcomes(merged))
    print(
        f"merged: {len(outcomes(merged))} samples, {len(different)} differ from the undivided run"
    )
    for key in different[:10]:
        print(f"  {key}")
    return not different


if __name__ == "__main__":
    main()
