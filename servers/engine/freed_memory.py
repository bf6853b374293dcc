"""Memory that tensors leave is kept for the next ones."""

import ctypes
import platform
from typing import Final

# mallopt's names for its parameters, in glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 2**30


def keep_freed_memory() -> None:
    """Blocks of up to a gibibyte are reused from now on; elsewhere than on glibc it does nothing.

    The intermediate tensors of a prefill are a few megabytes each, and by default each is mapped
    and given back at every operation, which costs page faults.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        libc.mallopt(parameter, _KEPT_BYTES)
