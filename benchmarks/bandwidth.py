"""How fast this machine copies memory: the ceiling of decoding with large weights or states."""

import time

import torch

_NUM_TRIALS = 15
# More than any cache holds.
BEYOND_CACHES = 256 * 2**20


def copy_bandwidth(num_bytes: int, *, threads: int = 1) -> float:
    """Bytes read and written a second by the best of several copies of `num_bytes`."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _best(num_bytes)
    finally:
        torch.set_num_threads(before)


def _best(num_bytes: int) -> float:
    source = torch.ones(num_bytes // 4)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(_NUM_TRIALS):
        began = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - began)
    return 2 * source.nbytes / best
