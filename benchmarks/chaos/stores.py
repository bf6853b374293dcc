"""What a disk does to a run: no room, torn and doubled lines; and a clock that is set back."""

import json
import random
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final

from benchmarks.chaos.campaign import Check, Setting
from benchmarks.chaos.grid import Client, as_undisturbed, undisturbed
from benchmarks.chaos.servers import Fleet
from benchmarks.shards import outcomes

_CLOCK: Final = Path(__file__).parent / "shifted_clock"
_HOUR_S: Final = 3600.0


def disk_full(setting: Setting) -> list[Check]:
    """No file of the client's may grow over a limit, which is raised again and again."""
    rng, folder = setting.random("disk-full"), setting.own_folder("disk-full")
    size = (undisturbed(setting) / "samples.jsonl").stat().st_size
    number = setting.num(6, 2)
    limits = sorted(int(size * rng.uniform(0.1, 0.95)) for _ in range(number))
    statuses, torn = [], 0
    with Fleet(folder) as fleet:
        client = Client(setting, fleet, folder)
        run = None
        for limit in limits:
            statuses.append(client.finish(run=run, max_file_bytes=limit))
            run = client.run
            torn += not (run / "samples.jsonl").read_bytes().endswith(b"\n")
        status = client.finish(run=run)
    full = sum(status == 4 for status in statuses)
    return [
        Check(
            what="a client without room ends with status 4 and leaves whole lines",
            is_kept=full == number and not torn,
            figures=f"{full} of {number} times, at {limits[0]:,} to {limits[-1]:,} bytes of "
            f"{size:,}; {torn} torn lines",
        ),
        *as_undisturbed(setting, client, status),
    ]


def lines_torn(setting: Setting) -> list[Check]:
    """Damage of several kinds to the samples of a finished run, which goes on with --resume."""
    rng, folder = setting.random("lines-torn"), setting.own_folder("lines-torn")
    number, whole = setting.num(20, 3), undisturbed(setting)
    checks: list[Check] = []
    num_cost = 0
    with Fleet(folder) as fleet:
        for count in range(number):
            own = folder / str(count)
            client = Client(setting, fleet, own)
            run = client.out / whole.name
            shutil.copytree(whole, run)
            samples = run / "samples.jsonl"
            # Each kind in its turn, half of the time with another one upon it.
            turn = _DAMAGES[count % len(_DAMAGES)]
            for damage in [turn, *rng.sample(_DAMAGES, rng.randrange(2))]:
                samples.write_bytes(damage(samples.read_bytes(), rng))
            num_left = _num_whole(samples)
            num_cost += len(outcomes(whole)) - num_left
            found = as_undisturbed(setting, client, client.finish(run=run))
            checks += [check for check in found if not check.is_kept]
    return checks or [
        Check(
            what="what damage covers is asked again, and no more; the run is the undisturbed one",
            is_kept=True,
            figures=f"{number} damaged copies of it, {num_cost} samples in them damaged",
        )
    ]


def clock_set_back(setting: Setting) -> list[Check]:
    """The clock of client and servers goes back an hour as they work, a resumed run's a day."""
    folder = setting.own_folder("clock-set-back")
    now, always = folder / "now", folder / "always"
    always.touch()
    with Fleet(folder, environment=_clock(_HOUR_S, when=now)) as fleet:
        client = Client(setting, fleet, folder, "--concurrency", "2")
        child = client.start(environment=_clock(_HOUR_S, when=now))
        client.wait_stored(setting.num(150, 30), child)
        now.touch()
        has_stored = client.wait_stored(setting.num(300, 60), child)
        child.terminate()
        stopped = child.wait()
        again = _clock(24 * _HOUR_S, when=always)
        status = client.finish(run=client.run, environment=again)
    lines = (client.run / "samples.jsonl").read_text().splitlines()
    ends_s = [json.loads(line)["times"]["finished_at_s"] for line in lines]
    num_back = sum(later < before - _HOUR_S / 2 for before, later in pairwise(ends_s))
    summary = json.loads((client.run / "summary.json").read_text())
    return [
        Check(
            what="the clock was set back while samples were stored",
            is_kept=has_stored and stopped == 4 and num_back >= 2,
            figures=f"{num_back} samples ended more than half an hour before the one in front",
        ),
        Check(
            what="no figure of the run is negative",
            is_kept=summary["complete"] and not _negative(summary),
            figures=", ".join(_negative(summary)) or "of its summary none",
        ),
        *as_undisturbed(setting, client, status),
    ]


def _clock(back_s: float, *, when: Path) -> Mapping[str, str]:
    """The clock goes back once that file is there."""
    return {
        "PYTHONPATH": str(_CLOCK),
        "CHAOS_CLOCK_BACK_S": str(back_s),
        "CHAOS_CLOCK_WHEN": str(when),
    }


def _negative(value: object, name: str = "") -> list[str]:
    """Names of the numbers in it that are below zero."""
    match value:
        case dict():
            pairs = ((f"{name}.{key}", one) for key, one in value.items())
            return [found for key, one in pairs for found in _negative(one, key)]
        case list():
            return [found for one in value for found in _negative(one, name)]
        case float() | int():
            return [f"{name.removeprefix('.')} {value}"] if value < 0 else []
    return []


def _num_whole(samples: Path) -> int:
    """Samples of which a whole line is left."""
    found = set()
    for line in samples.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
            found.add((record["cell"], record["address"]))
        except (ValueError, KeyError, TypeError):
            continue
    return len(found)


def _torn_end(data: bytes, rng: random.Random) -> bytes:
    return data[: -rng.randrange(2, min(len(data), 20_000))]


def _torn_middle(data: bytes, rng: random.Random) -> bytes:
    """Half a line, and the next behind it: as two writers without a lock would leave it."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(1, len(lines) - 1)
    lines[at] = lines[at][: rng.randrange(20, 200)]
    return b"".join(lines)


def _doubled_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    begin = rng.randrange(len(lines))
    again = lines[begin : begin + rng.randint(1, 40)]
    at = rng.randrange(begin, len(lines)) + 1
    return b"".join([*lines[:at], *again, *lines[at:]])


def _doubled_file(data: bytes, rng: random.Random) -> bytes:
    return data + data[: rng.randrange(len(data))]


def _nulls(data: bytes, rng: random.Random) -> bytes:
    """What a file system leaves of a length that was written before the data."""
    lost = rng.randrange(1, 5000)
    return data[:-lost] + bytes(rng.choice([lost, 4096]))


def _garbage(data: bytes, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.randint(1, 300)).replace(b"\n", b"") + b"{"


_DAMAGES: Final = (_torn_end, _torn_middle, _doubled_lines, _doubled_file, _nulls, _garbage)
