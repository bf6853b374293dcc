"""Servers of a benchmark as processes, and the memory that they hold."""

import os
import subprocess
import sys
from pathlib import Path


def start_retrieval(address: str) -> "subprocess.Popen[bytes]":
    """The search service; its log is not shown."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), str(root / "proto")])
    return subprocess.Popen(
        [sys.executable, "-m", "harness_retrieval.command", "--listen", address],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )


def resident_mib(pid: int) -> float:
    """Resident memory of a process of this machine (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")
