"""Servers of a benchmark as processes: started, waited for, ended; the memory that they hold."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).parents[1]
_MAX_END_S: Final = 60
_LAST_PORT: Final = 60_000


class StartError(Exception):
    """A server did not start; says where to look."""


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """The command for as long as the block runs; what it says is in the log.

    `environment`: what is set beside ours.
    """
    with log.open("w") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    with ended(child):
        yield child


@contextlib.contextmanager
def ended(child: subprocess.Popen[Any]) -> Iterator[None]:
    """Asks it to end behind the block, and does not wait for ever: nobody is to be left behind."""
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(timeout=_MAX_END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_started(
    is_there: Callable[[], bool], child: "subprocess.Popen[bytes]", log: Path, *, within_s: float
) -> None:
    """Returns once it is. Raises StartError where the child ends before, or after so long."""
    end_s = time.monotonic() + within_s
    while not is_there():
        if child.poll() is not None or time.monotonic() > end_s:
            raise StartError(f"{child.args!r} did not start: see {log}")
        time.sleep(0.2)


def free_port() -> int:
    """Of this machine, with room for some in a row behind it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port <= _LAST_PORT:
            return port


def start_retrieval(address: str) -> "subprocess.Popen[bytes]":
    """The search service; its log is not shown."""
    path = os.pathsep.join([str(_ROOT), str(_ROOT / "proto")])
    return subprocess.Popen(
        [sys.executable, "-m", "harness_retrieval.command", "--listen", address],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )


def with_children(pid: int) -> list[int]:
    """A process and all that it has started, and they (Linux)."""
    found = [pid]
    # Threads may end while they are looked at.
    with contextlib.suppress(OSError):
        for task in list(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text().split():
                    found += with_children(int(child))
    return found


def ray_workers(pid: int) -> list[int]:
    """The processes of Ray that are at a task of this command."""
    found = []
    for one in with_children(pid):
        try:
            title = Path(f"/proc/{one}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::work"):
            found.append(one)
    return found


def resident_with_engine_mib(pid: int) -> float:
    """Resident memory of a server and of the processes that it has started (Linux)."""
    return sum(map(resident_mib, with_children(pid)))


def files_with_engine(pid: int) -> int:
    """Descriptors that are open in a server and in the processes that it has started (Linux)."""
    return sum(len(list(Path(f"/proc/{one}/fd").iterdir())) for one in with_children(pid))


def threads_with_engine(pid: int) -> int:
    """Threads of a server and of the processes that it has started (Linux)."""
    return sum(len(list(Path(f"/proc/{one}/task").iterdir())) for one in with_children(pid))


def cpu_with_engine_s(pid: int) -> float:
    """Processor time of a server and of the processes that it has started (Linux)."""
    return sum(map(_cpu_s, with_children(pid)))


def _cpu_s(pid: int) -> float:
    # Behind the name, which may have spaces: user and system time are the 12th and 13th.
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process of this machine (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} is gone")
