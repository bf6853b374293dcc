"""What somebody waits for at the start: the help, and the first sample of a run.

`python -m benchmarks.startup`. Several in a row: the least is what the program itself needs.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What the help must do without.
_HEAVY = ("grpc", "torch", "numpy", "msgspec", "rich", "asyncio", "httpx")
_HELP = (sys.executable, "-m", "harness", "--help")
_EVAL = (sys.executable, "-m", "harness", "eval", "--endpoint", "rnn-rag", "--task", "assoc_recall")
_MODULES = """
from harness.cli import main
main(["--help"], standalone_mode=False)
import sys
print(*sys.modules)
"""


def time_help() -> float:
    """Seconds from the start of the process to its end."""
    began = time.perf_counter()
    subprocess.run(_HELP, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def time_first_sample() -> float:
    """Seconds until the first sample of a run with a server of its own is stored."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        process = subprocess.Popen(
            [*_EVAL, "--out", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not any(file.stat().st_size for file in Path(folder).glob("*/samples.jsonl")):
            if process.poll() is not None:
                raise RuntimeError(f"the run ended with status {process.returncode}")
            time.sleep(0.01)
        seconds = time.perf_counter() - began
        process.terminate()
        process.wait()
    return seconds


def modules_of_help() -> list[str]:
    """The names of all that the help imports."""
    done = subprocess.run([sys.executable, "-c", _MODULES], capture_output=True, check=True)
    return done.stdout.decode().splitlines()[-1].split()


def main() -> None:
    """Prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    modules = modules_of_help()
    heavy = [name for name in _HEAVY if name in modules]
    print(f"help imports {len(modules)} modules; heavy ones: {', '.join(heavy) or 'none'}")
    for what, measure, goal in (
        ("help", time_help, "0.2 s"),
        ("first sample", time_first_sample, "10 s"),
    ):
        times = [measure() for _ in range(options.repetitions)]
        middle = statistics.median(times)
        print(f"{what}: least {min(times):.3f} s, median {middle:.3f} s (goal {goal})")


if __name__ == "__main__":
    main()
