"""State that grows with its sequence: one row per token read; see State in protocol.py.

Shapes: B sequences, S slots, T rows.
"""

from typing import Final

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.protocol import State

NUM_READ: Final = "num_read"
_PREFIX: Final = "cache."
# All slots have the same number of rows; it doubles, from here.
FIRST_CAPACITY: Final = 256


def cache_name(kind: str, layer: int) -> str:
    """The name of a layer's cache in a state."""
    return f"{_PREFIX}{kind}.{layer}"


def is_cache(name: str) -> bool:
    """True for the tensors of a state that are (S, T, ...)."""
    return name.startswith(_PREFIX)


def lasting_bytes(state: State) -> int:
    """Of one sequence's state, what does not grow."""
    return sum(tensor.nbytes for name, tensor in state.items() if not is_cache(name))


def row_bytes(state: State) -> int:
    """Of one sequence's state, a row of every cache."""
    return sum(tensor[0, 0].nbytes for name, tensor in state.items() if is_cache(name))


def num_rows(state: State, slot: int) -> int:
    """Rows of the caches that this slot uses; 0 where nothing in this state grows."""
    return int(state[NUM_READ][slot]) if NUM_READ in state else 0


def reserve(state: State, num_tokens: int) -> None:
    """Replaces the caches by longer ones where they cannot hold `num_tokens` rows."""
    for name, cache in state.items():
        if is_cache(name) and num_tokens > cache.shape[1]:
            state[name] = _lengthen(cache, num_tokens)


def reserve_for(state: State, lengths_B: Tensor, slots_B: Tensor) -> None:
    """Makes room for so many more tokens of each of these slots."""
    if NUM_READ in state:
        reserve(state, int((state[NUM_READ][slots_B] + lengths_B).max()))


def _lengthen(cache: Tensor, num_tokens: int) -> Tensor:
    capacity = cache.shape[1]
    while capacity < num_tokens:
        capacity *= 2
    no_padding = (0, 0) * (cache.dim() - 2)
    return F.pad(cache, (*no_padding, 0, capacity - cache.shape[1]))
