"""Lets the processes that multiprocessing spawns end with this one, even when it is killed."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_POLL_S: Final = 0.05


def end_children_with_us() -> None:
    """From now on every spawned process imports this module first, whatever program this is.

    It imports what the main module's specification names: now it names this one. The processes of
    vLLM's engine would otherwise outlive a server that was killed.
    """
    sys.modules["__main__"].__spec__ = __spec__


@contextmanager
def spawned_end_with_us() -> Iterator[None]:
    """The same, of the processes that are spawned in this block."""
    main = sys.modules["__main__"]
    before = main.__spec__
    end_children_with_us()
    try:
        yield
    finally:
        main.__spec__ = before


def end_with_parent() -> None:
    """Returns at once; from then on the death of the parent is the death of this process."""
    threading.Thread(target=_wait, name="end-with-parent", daemon=True).start()


def _wait() -> None:
    # None while this process is still being set up.
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(_POLL_S)
    parent.join()
    os._exit(1)


if __name__ == "__mp_main__":
    end_with_parent()
