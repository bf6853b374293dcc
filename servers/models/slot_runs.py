"""Where the rows of a batch lie in the pool: runs of adjacent slots, so that views replace copies.

Copying 64 states out of the pool and back took more than half of a decode step.
"""

from torch import Tensor

# Rows of the batch, and the slots that they have, in the same order.
Runs = list[tuple[slice, slice]]


def find_runs(slots_B: Tensor) -> Runs:
    """The fewest runs; a batch in the order of its slots has one more than the pool has holes."""
    slots = slots_B.tolist()
    runs = []
    start = 0
    for row in range(1, len(slots) + 1):
        if row == len(slots) or slots[row] != slots[row - 1] + 1:
            runs.append((slice(start, row), slice(slots[start], slots[row - 1] + 1)))
            start = row
    return runs
