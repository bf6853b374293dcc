"""Processes of an engine end with their server, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = """
import multiprocessing, os, time
from harness_servers.process.orphans import end_children_with_us

def main():
    end_children_with_us()
    # A function of the library: what the main module has, whoever it is, a child does not need.
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,))
    child.start()
    print(child.pid, flush=True)
    child.join()

if __name__ == "__main__":
    main()
"""


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_process_ends_with_a_parent_that_is_killed(
    tmp_path: Path, wait_until: Callable[[Callable[[], object]], None]
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(child))
    parent.communicate()
