"""One server process of ours: its command, its log, its end."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from harnessapi.rpc.security_options import SERVER_PREFIX

_STOP_TIMEOUT_S: Final = 10.0
_TAIL_LINES: Final = 12


def _environment() -> dict[str, str]:
    """Ours, without what it says of other servers: those of a fleet are for us alone."""
    return {name: v for name, v in os.environ.items() if not name.startswith(SERVER_PREFIX)}


class ServerProcess:
    """Runs `python -m MODULE ARGUMENT...` with its output in a log file."""

    def __init__(self, arguments: Sequence[str], *, log: Path) -> None:
        command = [sys.executable, "-m", *arguments]
        guard = [sys.executable, "-m", "harness.fleet.guard", str(os.getpid())]
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches us alone, and we stop it.
            self._process = subprocess.Popen(
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def log_tail(self) -> str:
        """The last lines that this process has logged."""
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
            return "\n".join(lines[-_TAIL_LINES:])
        return ""

    def terminate(self) -> None:
        """Asks it to stop; `wait_stopped` follows."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> None:
        """Waits for the end; after a time, or when interrupted, the process is killed."""
        try:
            self._process.wait(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
