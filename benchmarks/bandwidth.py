"""How fast this machine copies memory: the ceiling of decoding with a large state."""

import time

import torch

_NUM_TRIALS = 15
# More than any cache holds.
BEYOND_CACHES = 256 * 2**20


def copy_bandwidth(num_bytes: int) -> float:
    """Bytes read and written a second by the best of several copies of `num_bytes`, one thread."""
    source = torch.ones(num_bytes // 4)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(_NUM_TRIALS):
        began = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - began)
    return 2 * source.nbytes / best
