"""Attention over caches that lie in the slots of a pool.

Shapes: B sequences, L new tokens, T cached tokens, D width, G key-value heads, P head width,
S slots.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness_servers.models.attention import Attention, attend
from harness_servers.models.caches import NUM_READ, cache_name, reserve
from harness_servers.models.protocol import State

# Rows of the batch, and the adjacent slots that they have, in the same order: views replace copies.
# Copying 64 states out of the pool and back took more than half of a decode step.
Runs = list[tuple[slice, slice]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where the tokens of a batch go: the slots of its rows, and each token's row in the caches."""

    slots_B: Tensor
    runs: Runs
    positions_BL: Tensor
    is_real_BL: Tensor
    # Tokens that each slot has read afterwards.
    ends: list[int]


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


def find_places(length: int, lengths_B: Tensor, state: State, slots_B: Tensor) -> Places:
    """Counts the tokens as read, and makes the caches long enough for them."""
    before_B = state[NUM_READ][slots_B]
    ends_B = before_B + lengths_B
    state[NUM_READ][slots_B] = ends_B
    ends = ends_B.tolist()
    reserve(state, max(ends))
    places_L = torch.arange(length, device=slots_B.device)
    return Places(
        slots_B=slots_B,
        runs=find_runs(slots_B),
        positions_BL=before_B[:, None] + places_L,
        is_real_BL=places_L < lengths_B[:, None],
        ends=ends,
    )


def attend_cached(
    attention: Attention, index: int, x_BLD: Tensor, state: State, places: Places
) -> Tensor:
    """Writes the new tokens' keys and values into the caches, then attends over all of it."""
    query_BLHP, key_BLGP, value_BLGP = attention.project(x_BLD, places.positions_BL)
    keys_STGP, values_STGP = (state[cache_name(kind, index)] for kind in ("key", "value"))
    is_real_BL = places.is_real_BL
    slots_BL = places.slots_B[:, None].expand_as(is_real_BL)
    where = (slots_BL[is_real_BL], places.positions_BL[is_real_BL])
    keys_STGP[where], values_STGP[where] = key_BLGP[is_real_BL], value_BLGP[is_real_BL]
    mixed = []
    for rows, slots in places.runs:
        used = slice(max(places.ends[rows]))
        keys_BTGP, values_BTGP = keys_STGP[slots, used], values_STGP[slots, used]
        positions_BL = places.positions_BL[rows]
        mixed.append(attend(query_BLHP[rows], keys_BTGP, values_BTGP, positions_BL))
    return attention.finish(torch.cat(mixed))
