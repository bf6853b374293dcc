"""Draws a few samples of a task in a process of its own: the same address gives the same bytes.

What differs from process to process is the order of a set of words, and whatever a module drew
when it was imported.
"""

import hashlib
import os
import subprocess
import sys
from typing import Final

from harness.errors import InputError
from harness.sample import Split
from harness.tasks import find_task
from harness.tasks.task import Task

_NUM_SAMPLES: Final = 3
_PROGRAM: Final = (
    "import sys; from harness.tasks.elsewhere import digest; print(digest(sys.argv[1]))"
)


def digest(spec: str) -> str:
    """Of all that is read of the first samples at the default size."""
    task = find_task(spec)()
    found = [_read(task, split, index) for split in Split for index in range(_NUM_SAMPLES)]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def require_same_elsewhere(spec: str) -> None:
    """Raises InputError where another process draws other samples than this one."""
    there = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        # -P: no module of the working directory takes the place of another.
        [sys.executable, "-P", "-c", _PROGRAM, spec],
        env={**os.environ, "PYTHONHASHSEED": there},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.split()
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InputError(f"task '{spec}' cannot be drawn in another process: {reason}")
    if not said or said[-1] != digest(spec):
        raise InputError(
            f"task '{spec}': draws(): another process draws other samples at the same address. "
            "Draw from the generator that is given alone, and never in the order of a set "
            "(sorted(...) gives it one)"
        )


def _read(task: Task, split: Split, index: int) -> tuple[str, ...]:
    sample = task.sample(split, 0, index)
    return (sample.context, sample.question, sample.target, repr(dict(sample.metadata)))
