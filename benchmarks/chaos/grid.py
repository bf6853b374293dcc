"""The grid that is asked under every fault, and how its run is held to an undisturbed one."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.campaign import Check, Setting
from benchmarks.chaos.servers import Fleet, with_our_path
from benchmarks.shards import differing, num_lines, only_run, outcomes

_HARNESS: Final = (sys.executable, "-m", "harness")
# Some answers are right and some wrong, some take many searches of both kinds and some none.
_GRID: Final = (
    *("--endpoint", "served", "--task", "assoc_recall,is_tree", "--size", "8"),
    *("--prompting", "direct,search"),
)
_NUM_CELLS: Final = 4
# Of how a sample came about, which a fault may change.
_OF_ATTEMPTS: Final = ("num_attempts", "faults")
_ALL_THERE: Final = "nothing is lost or doubled"
# A sample may meet one fault after another.
_DEADLINE_S: Final = "1800"


class Client:
    """`harness eval` of the grid against a fleet, in processes; its runs lie in one folder."""

    def __init__(self, setting: Setting, fleet: Fleet, folder: Path, *more: str) -> None:
        """`more`: options of every evaluation."""
        self.out = folder / "runs"
        self.log = folder / "client.log"
        folder.mkdir(exist_ok=True)
        endpoints = folder / "endpoints.toml"
        endpoints.write_text(f'[served]\naddress = "{fleet.model.address}"\nretrieval = true\n')
        self._always = ("--endpoints", str(endpoints), "--out", str(self.out), "-q", *more)
        self._always += ("--deadline", _DEADLINE_S)
        num_samples = setting.num(150, 30)
        self._num_asked = _NUM_CELLS * num_samples
        self._asked = (*_GRID, "--samples", str(num_samples))

    @property
    def run(self) -> Path:
        """The one that there is."""
        return only_run(self.out)

    def start(
        self,
        *more: str,
        run: Path | None = None,
        environment: Mapping[str, str] | None = None,
        max_file_bytes: int | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Begins the run, or goes on with one; `max_file_bytes`: no file of it may be larger."""
        asked = self._asked if run is None else ("--resume", str(run))
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [*_HARNESS, "eval", *asked, *self._always, *more],
                stdout=log,
                stderr=log,
                env={**os.environ, **with_our_path(environment or {})},
            )
        if max_file_bytes is not None:
            # Before it has imported anything. What exceeds it is cut short, the next write fails.
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
        return child

    def finish(self, *more: str, **how: Any) -> int:
        """Begins or goes on as `start`, to the end; the exit status."""
        return self.start(*more, **how).wait()

    def num_stored(self) -> int:
        """Lines of samples, of all runs."""
        return num_lines(self.out)

    def moments(self, rng: random.Random, number: int) -> list[int]:
        """So many numbers of stored samples, drawn from the whole run but its end."""
        return sorted(rng.sample(range(1, self._num_asked * 9 // 10), number))

    def wait_stored(self, number: int, child: "subprocess.Popen[bytes]") -> bool:
        """Whether so many are stored while the client runs."""
        while child.poll() is None:
            if self.num_stored() >= number:
                return True
            time.sleep(0.005)
        return False

    def kill(self, child: "subprocess.Popen[bytes]") -> bool:
        """SIGKILL; whether that was what ended it."""
        child.kill()
        return child.wait() == -signal.SIGKILL


def undisturbed(setting: Setting) -> Path:
    """The run that nothing happened to: made when it is first asked for."""
    folder = setting.folder / "undisturbed"
    if not folder.exists():
        setting.own_folder("undisturbed")
        with Fleet(folder) as fleet:
            client = Client(setting, fleet, folder)
            if status := client.finish():
                raise RuntimeError(f"the undisturbed run ended with {status}: {_tail(client.log)}")
    return only_run(folder / "runs")


def as_undisturbed(setting: Setting, client: Client, status: int) -> list[Check]:
    """Of a client that has finished its run: that it did, and that it is the undisturbed one."""
    return [
        Check(
            what="the run ends with status 0, without a traceback",
            is_kept=status == 0 and "Traceback" not in client.log.read_text(),
            figures=f"status {status}" + (f": {_tail(client.log)}" if status else ""),
        ),
        *same_run(undisturbed(setting), client.run),
    ]


def same_run(whole: Path, run: Path) -> list[Check]:
    """Nothing is lost, nothing doubled; verdicts and texts are the same."""
    expected = {key: _result(record) for key, record in outcomes(whole).items()}
    try:
        stored = {key: _result(record) for key, record in outcomes(run).items()}
    except (RuntimeError, ValueError) as error:
        # A sample twice, or a line that is none.
        return [Check(what=_ALL_THERE, is_kept=False, figures=str(error))]
    both = expected.keys() & stored.keys()
    num_judged = sum(expected[key]["verdict"] != stored[key]["verdict"] for key in both)
    different = differing(expected, stored)
    num_right = sum(record["verdict"] == "correct" for record in stored.values())
    return [
        Check(
            what=_ALL_THERE,
            is_kept=expected.keys() == stored.keys(),
            figures=f"{len(both)} of {len(expected)} samples, none twice"
            + (f", {len(stored) - len(both)} that were not asked" if stored.keys() - both else ""),
        ),
        Check(
            what="verdicts and texts are the undisturbed run's",
            is_kept=not different,
            figures=f"{num_judged} verdicts differ, {len(different)} samples in anything; "
            f"{num_right} are right",
        ),
    ]


def num_faults(run: Path) -> int:
    """Attempts that failed, of all samples of a run."""
    return sum(len(record["faults"]) for record in outcomes(run).values())


def _result(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _OF_ATTEMPTS}


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return " / ".join(lines[-3:])
