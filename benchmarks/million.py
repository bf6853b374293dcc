"""A run of a million samples: what asking, scanning and reporting it take, in seconds and memory.

`python -m benchmarks.million` asks the shipped fake server, then resumes and reports the run, each
in a process of its own; `--made-up` writes the run in the place of asking it. It prints a line a
step; with fewer `--samples` also what a million would take, where the cost is a sample's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_MILLION: Final = 1_000_000
_HARNESS: Final = """
from harness.cli import main
from harness.cli.dependencies import Dependencies
from harness.fleet.plans import Program
fake = Program(module="harness.fakes.fake_server")
main(obj=Dependencies(model_server=fake), prog_name="harness")
"""
_TELL_COST: Final = """
import atexit, pathlib, resource
def tell():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cost = f"{usage.ru_utime + usage.ru_stime} {usage.ru_maxrss}"
    pathlib.Path("cost").write_text(cost)
atexit.register(tell)
"""
# Opens the store, as --resume does: its lock, its files mended, and whose samples are there.
_SCAN: Final = """
import sys
from pathlib import Path
from harness.runs.store import RunStore
store = RunStore(Path(sys.argv[1]))
print(len(store.done))
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one step."""

    name: str
    seconds: float
    # Of its process alone; on a machine that is busy otherwise it says more than the clock.
    cpu_s: float
    peak_mib: float

    def line(self, num_samples: int) -> str:
        """The figures, and what they are for a million."""
        scaled = self.cpu_s * _MILLION / num_samples
        more = "" if num_samples == _MILLION else f" (a million: {scaled:.0f} s)"
        costs = f"{self.seconds:9.1f} s, {self.cpu_s:.1f} s of a core{more}"
        return f"{self.name:<24}{costs}{self.peak_mib:9.0f} MiB"


def measured(name: str, program: str, arguments: Sequence[str], folder: Path) -> Cost:
    """Runs it in a process of its own; the peak is that process's, not its children's."""
    told = (
        f"import resource, atexit, sys\natexit.register(lambda: open({str(folder / 'peak')!r}, 'w')"
    )
    told += ".write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)))\n"
    began = time.monotonic()
    command = [sys.executable, "-c", told + program, *arguments]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    seconds = time.monotonic() - began
    cpu_s, peak_kib = map(float, (folder / "cost").read_text().split())
    return Cost(name=name, seconds=seconds, cpu_s=cpu_s, peak_mib=peak_kib / 1024)


def write_workplace(folder: Path) -> None:
    """Endpoints of the fake."""
    (folder / "fake").mkdir()
    (folder / "fake" / "fake.json").write_text(json.dumps({"wrong_share": 0.3}))
    (folder / "endpoints.toml").write_text('[fake]\ncheckpoint = "fake"\nretrieval = true\n')


def make_up(run: Path, num_samples: int) -> None:
    """From a short run a long one: its samples again, under other indices."""
    lines = (run / "samples.jsonl").read_text().splitlines()
    manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    num_short = manifest["options"]["samples"]
    manifest["options"]["samples"] = num_samples
    (run / "manifest.json").write_text(json.dumps(manifest))
    with (run / "samples.jsonl").open("w") as file:
        for index in range(num_samples):
            line = lines[index % num_short]
            before, _, rest = line.partition("/index=")
            file.write(f"{before}/index={index}{rest[rest.index(chr(34)) :]}\n")


def main() -> None:
    """Prints the costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=_MILLION)
    parser.add_argument("--made-up", action="store_true", help="do not ask; the rest is the same")
    parser.add_argument("--folder", type=Path, help="where there is room for 2 GB")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write_workplace(folder)
        num_asked = 1000 if options.made_up else options.samples
        asked = ("eval", "--endpoint", "fake", "--task", "assoc_recall", "--size", "4", "-q")
        cost = measured("ask", _HARNESS, (*asked, "--samples", str(num_asked)), folder)
        print(cost.line(num_asked), flush=True)
        [run] = (folder / "runs").iterdir()
        if options.made_up:
            make_up(run, options.samples)
        for name, program, arguments in (
            ("resume scan", _SCAN, (str(run),)),
            ("resume, nothing left", _HARNESS, ("eval", "--resume", str(run), "-q")),
            ("report", _HARNESS, ("report", str(run))),
            ("report --html", _HARNESS, ("report", str(run), "--html", "report.html")),
        ):
            print(measured(name, program, arguments, folder).line(options.samples), flush=True)


if __name__ == "__main__":
    main()
