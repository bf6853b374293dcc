"""Lets a process that multiprocessing made end with its parent, even when that is killed."""

import multiprocessing
import os
import threading
import time
from typing import Final

_POLL_S: Final = 0.05


def end_with_parent() -> None:
    """Returns at once; from then on the death of the parent is the death of this process."""
    threading.Thread(target=_wait, name="end-with-parent", daemon=True).start()


def _wait() -> None:
    # None while this process is still being set up.
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(_POLL_S)
    parent.join()
    os._exit(1)
