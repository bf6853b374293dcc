"""A model server and the search service behind it: processes that are killed and looked at."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from harnessapi.rpc.probe import why_not_healthy
from harnessapi.rpc.targets import parse_target

from benchmarks.chaos.campaign import Check
from benchmarks.processes import (
    files_with_engine,
    free_port,
    resident_with_engine_mib,
    running,
    threads_with_engine,
    wait_started,
    with_children,
)
from benchmarks.serving import DEFAULT_CHECKPOINT

# A busy machine takes its time.
START_S: Final = 600.0
_SETTLE_S: Final = 120.0
_ROOT: Final = Path(__file__).parents[2]
# From its first line to its last, which alone is not indented.
_TRACEBACK: Final = re.compile(r"^Traceback \(most.*?^[^\s].*?$", re.MULTILINE | re.DOTALL)
_FRAME: Final = re.compile(r'^  File "([^"]+)"', re.MULTILINE)
_PROBE_S: Final = 5.0
# What a process may have more of than before: gRPC and executors start threads when they need them.
MORE_FILES: Final = 4
MORE_THREADS: Final = 16
MORE_MIB: Final = 64.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a server and its engine hold at one moment."""

    resident_mib: float
    # What the server itself says that its prefix cache or its contexts take of that.
    said_mib: float
    num_files: int
    num_threads: int

    def __str__(self) -> str:
        return (
            f"{self.resident_mib:.0f} MiB ({self.said_mib:.0f} of them kept on purpose), "
            f"{self.num_files} descriptors, {self.num_threads} threads"
        )


class Server:
    """One program of ours at a Unix socket in the block; after a kill it is started there again."""

    def __init__(
        self,
        name: str,
        arguments: Iterable[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.address = f"unix:{folder}/{name}.sock"
        self.num_starts = 0
        self._socket, self._log = folder / f"{name}.sock", folder / f"{name}.log"
        self._arguments = tuple(arguments)
        self._environment = with_our_path(environment or {})
        self._metrics_port = free_port()
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that it said since its last start."""
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        """Returns once it is healthy."""
        # Who was killed leaves its socket behind.
        self._socket.unlink(missing_ok=True)
        command = [sys.executable, "-m", *self._arguments, "--listen", self.address]
        command += ["--metrics-port", str(self._metrics_port)]
        self._process = self._stack.enter_context(running(command, self._log, self._environment))
        wait_started(self._is_healthy, self._process, self._log, within_s=START_S)
        self.num_starts += 1

    def kill(self) -> list[int]:
        """SIGKILL; the processes that it had started and that are left."""
        assert self._process is not None
        children = with_children(self.pid)[1:]
        self._process.kill()
        self._process.wait()
        wait_until(lambda: not any(map(_runs, children)))
        return list(filter(_runs, children))

    def stop(self) -> None:
        """Asks it to end, as whoever runs it does."""
        self._stack.close()

    def is_running(self) -> bool:
        """The process that was started last."""
        return self._process is not None and self._process.poll() is None

    def said(self, name: str) -> float:
        """A number of its metrics, of all labels together; 0 where there is none."""
        return sum(value for key, value in self._metrics() if key.partition("{")[0] == name)

    def look(self) -> Look:
        """What it holds now."""
        said = sum(
            value
            for key, value in self._metrics()
            if key == 'harness_state_bytes{kind="prefix_cache"}'
            or key.startswith("harness_context_bytes{")
        )
        return Look(
            resident_mib=resident_with_engine_mib(self.pid),
            said_mib=said / 2**20,
            num_files=files_with_engine(self.pid),
            num_threads=threads_with_engine(self.pid),
        )

    def settled(self, before: Look) -> Look:
        """What it holds once what calls had open is closed again, or after a long wait."""
        most = before.num_files + MORE_FILES
        wait_until(lambda: self.look().num_files <= most)
        return self.look()

    def _metrics(self) -> list[tuple[str, float]]:
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=_SETTLE_S) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return [(key, float(value)) for key, _, value in pairs]

    def _is_healthy(self) -> bool:
        return why_not_healthy(parse_target(self.address), timeout_s=_PROBE_S) is None


class Fleet:
    """A search service, and a model server that searches through it; both run in the block."""

    def __init__(
        self,
        folder: Path,
        *,
        num_slots: int = 64,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.search = search_server(folder, environment)
        options = ["--retrieval", self.search.address, "--slots", str(num_slots), "--threads", "1"]
        command = ["harness_servers.command", str(DEFAULT_CHECKPOINT.resolve()), *options]
        self.model = Server("model", command, folder, environment)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.search)
            stack.enter_context(self.model)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()


def search_server(folder: Path, environment: Mapping[str, str] | None = None) -> Server:
    """The search service."""
    return Server("search", ["harness_retrieval.command"], folder, environment)


def with_our_path(environment: Mapping[str, str]) -> dict[str, str]:
    """For a process that finds our modules, behind what the environment wants first."""
    entries = (environment.get("PYTHONPATH", ""), *sys.path)
    return {**environment, "PYTHONPATH": os.pathsep.join(entry for entry in entries if entry)}


def wait_until(is_so: Callable[[], bool]) -> bool:
    """Whether it came to be so, within a long time."""
    end_s = time.monotonic() + _SETTLE_S
    while not (so := is_so()) and time.monotonic() < end_s:
        time.sleep(0.1)
    return so


def flat(server: Server, before: Look, after: Look) -> list[Check]:
    """Nothing is left of what was done: against a look after the first few requests."""
    grown = after.resident_mib - after.said_mib - before.resident_mib + before.said_mib
    return [
        Check(
            what=f"{server.name}: memory is flat (at most {MORE_MIB:.0f} MiB that it does not say)",
            is_kept=grown <= MORE_MIB,
            figures=f"{grown:+.0f} MiB: {before.resident_mib:.0f} to {after.resident_mib:.0f}, "
            f"of which it says {before.said_mib:.0f} and {after.said_mib:.0f}",
        ),
        Check(
            what=f"{server.name}: descriptors and threads are flat",
            is_kept=after.num_files <= before.num_files + MORE_FILES
            and after.num_threads <= before.num_threads + MORE_THREADS,
            figures=f"{before.num_files} to {after.num_files} descriptors, "
            f"{before.num_threads} to {after.num_threads} threads",
        ),
    ]


def still_there(server: Server) -> Check:
    """The process that was started, and no error of our program in its log."""
    ours, others = tracebacks(server.log)
    return Check(
        what=f"{server.name}: still runs, no traceback of ours in its log",
        is_kept=server.is_running() and server.num_starts == 1 and not ours,
        figures=f"{server.num_starts} start, {len(ours)} tracebacks"
        + (f": {ours[0][-300:]!r}" if ours else "")
        + (f", {len(others)} of gRPC alone" if others else ""),
    )


def tracebacks(log: str) -> tuple[list[str], list[str]]:
    """Those that go through code of ours, and the others.

    gRPC writes one where it answers a client that has just gone.
    """
    ours: list[str] = []
    others: list[str] = []
    for found in _TRACEBACK.findall(log):
        files = [Path(name) for name in _FRAME.findall(found)]
        is_ours = any(
            file.is_relative_to(_ROOT) and "site-packages" not in file.parts for file in files
        )
        (ours if is_ours else others).append(found)
    return ours, others


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
