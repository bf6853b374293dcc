"""Becomes a command that is told to stop when its parent dies, even by SIGKILL.

    python -m harness.fleet.guard PARENT_PID COMMAND [ARGUMENT ...]

The request to the kernel survives the exec. Where there is none (it is Linux's), the command runs
all the same; only a SIGKILL of the parent then leaves it behind.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Never returns."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have died before the request was made.
    if os.getppid() != int(parent):
        sys.exit(0)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main()
