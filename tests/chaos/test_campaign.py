"""The campaign's own checks find what they are to find, and its scripts run."""

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from harnessapi.inference.v1 import inference_pb2 as pb

from benchmarks.chaos.campaign import Check, Setting, SkippedError, carry_out
from benchmarks.chaos.fuzzing import by_chance, mutated
from benchmarks.chaos.grid import same_run
from benchmarks.chaos.mixed_load import flat_over_time
from benchmarks.chaos.servers import Look, tracebacks


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(seed=0, is_quick=True, folder=tmp_path)


def kept(_: Setting) -> list[Check]:
    return [Check(what="this holds", is_kept=True, figures="3 of 3")]


def broken(_: Setting) -> list[Check]:
    return [*kept(_), Check(what="that does not", is_kept=False, figures="2 of 3")]


def failing(_: Setting) -> list[Check]:
    raise RuntimeError("no server came up")


def skipped(_: Setting) -> list[Check]:
    raise SkippedError("ray is not installed")


def test_a_campaign_ends_with_a_summary_and_says_what_was_skipped(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carry_out({"one": kept, "other": skipped}, setting)
    summary = capsys.readouterr().out.splitlines()[-1]
    assert summary.startswith("chaos: 1 of 1 checks hold under 1 faults (seed 0, quick, ")
    assert summary.endswith("; other skipped: ray is not installed")


def test_a_check_that_does_not_hold_breaks_the_campaign_and_the_next_fault_is_made(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not carry_out({"a": broken, "b": failing, "c": kept}, setting)
    said = capsys.readouterr().out
    assert "FAIL  that does not: 2 of 3" in said
    assert "FAIL  the script runs to its end: RuntimeError('no server came up')" in said
    assert "chaos: 2 of 4 checks hold" in said
    assert said.endswith("; BROKEN: a, b\n")


def test_a_fault_may_go_on_beside_the_others(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    met = threading.Barrier(2, timeout=600)

    def meeting(_: Setting) -> list[Check]:
        met.wait()
        return kept(setting)

    assert carry_out({"long": meeting, "short": meeting}, setting, beside={"long"})
    said = capsys.readouterr().out
    assert said.index("short: ") < said.index("long: ") < said.index("chaos: 2 of 2 checks hold")


def samples(folder: Path, *records: tuple[int, str]) -> Path:
    folder.mkdir()
    lines = [
        {
            **{"cell": "c", "address": f"a/index={index}", "repeat": 0, "verdict": verdict},
            **{"times": {}, "searches": [], "num_attempts": 1, "faults": []},
        }
        for index, verdict in records
    ]
    (folder / "samples.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


@pytest.mark.parametrize(
    ("records", "is_kept"),
    [
        ([(1, "wrong"), (0, "correct")], [True, True]),
        ([(0, "correct")], [False, False]),
        ([(0, "correct"), (1, "wrong"), (1, "wrong")], [False]),
        ([(0, "correct"), (1, "wrong"), (2, "wrong")], [False, False]),
        ([(0, "correct"), (1, "correct")], [True, False]),
    ],
    ids=["another order", "lost", "doubled", "more", "another verdict"],
)
def test_a_run_is_held_to_the_undisturbed_one(
    tmp_path: Path, records: Any, is_kept: list[bool]
) -> None:
    whole = samples(tmp_path / "whole", (0, "correct"), (1, "wrong"))
    run = samples(tmp_path / "run", *records)
    assert [check.is_kept for check in same_run(whole, run)] == is_kept


def looks(*resident_mib: float, said_mib: float = 0.0, more_files: int = 0) -> list[Look]:
    return [
        Look(
            resident_mib=mib + said_mib * number,
            said_mib=said_mib * number,
            num_files=20 + more_files * number,
            num_threads=9,
        )
        for number, mib in enumerate(resident_mib)
    ]


def test_memory_that_grows_in_the_second_half_is_not_flat() -> None:
    filled = [100.0, 300.0, *[500.0] * 6]
    assert [check.is_kept for check in flat_over_time("m", looks(*filled))] == [True, True]
    grown = [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0]
    assert [check.is_kept for check in flat_over_time("m", looks(*grown))] == [False, True]
    said = looks(*[100.0] * 8, said_mib=50.0)
    assert [check.is_kept for check in flat_over_time("m", said)] == [True, True]
    leaking = looks(*[100.0] * 8, more_files=9)
    assert [check.is_kept for check in flat_over_time("m", leaking)] == [True, False]


GRPCS = """ERROR grpc._cython.cygrpc: ExecuteBatchError raised in core by servicer method
Traceback (most recent call last):
  File "src/python/grpcio/grpc/_cython/_cygrpc/aio/server.pyx.pxi", line 710, in _handle
grpc._cython.cygrpc.ExecuteBatchError: Failed "execute_batch"
"""
OURS = f"""ERROR harness_servers: a step failed
Traceback (most recent call last):
  File "{Path(__file__).parents[2]}/servers/engine/engine.py", line 7, in step
    raise ValueError(3)
ValueError: 3
"""


def test_a_traceback_is_ours_where_it_goes_through_our_code() -> None:
    ours, others = tracebacks(f"listening\n{GRPCS}{OURS}{GRPCS}more\n")
    assert [one.splitlines()[-1] for one in ours] == ["ValueError: 3"]
    assert len(others) == 2
    assert tracebacks("listening on unix:/x\n") == ([], [])


def test_messages_by_chance_are_the_same_of_one_seed_and_reach_every_field() -> None:
    rng, again = random.Random(7), random.Random(7)
    drawn = [by_chance(rng, pb.GenerateRequest) for _ in range(300)]
    assert [one.SerializeToString() for one in drawn] == [
        by_chance(again, pb.GenerateRequest).SerializeToString() for _ in range(300)
    ]
    reached = {field.name for one in drawn for field, _ in one.ListFields()}
    assert reached == set(pb.GenerateRequest.DESCRIPTOR.fields_by_name)
    data = drawn[0].SerializeToString()
    assert len({mutated(rng, data) for _ in range(50)}) > 25


@pytest.mark.skipif(sys.platform != "linux", reason="servers are looked at in /proc")
def test_the_cheapest_faults_are_made_and_hold() -> None:
    """They start what they need themselves; each of the others is made of the same parts."""
    pytest.importorskip("prometheus_client")
    pytest.importorskip("faiss")
    command = (sys.executable, "-m", "benchmarks.chaos", "--quick", "--only")
    done = subprocess.run(
        [*command, "malformed-to-search", "lines-torn"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("chaos: 7 of 7 checks hold under 2 faults")
