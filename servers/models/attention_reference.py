"""Attention that forgets, as its rule says it: token by token, head by head, with a list.

Shapes: L tokens, D width, P head width, T tokens that are attended to.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from harness_servers.models.attention import Attention

# Of the mean weights (T,) of all heads: the place of a token that is dropped, if any.
Drop = Callable[[Tensor], int | None]


def attend_and_drop(attention: Attention, x_LD: Tensor, drop: Drop) -> Tensor:
    """What each token gathers from those that are left, itself among them: (L, D)."""
    shape = attention.shape
    kept: list[tuple[list[Tensor], list[Tensor]]] = []
    outputs = []
    for position, x_D in enumerate(x_LD):
        query = _heads(attention.q_proj(x_D), shape.num_heads)
        key = _heads(attention.k_proj(x_D), shape.num_key_value_heads)
        value = _heads(attention.v_proj(x_D), shape.num_key_value_heads)
        kept.append(([_turn(attention, key_P, position) for key_P in key], value))
        gathered, weights = [], []
        for head in range(shape.num_heads):
            group = head * shape.num_key_value_heads // shape.num_heads
            query_P = _turn(attention, query[head], position)
            scores = [query_P @ keys[group] / math.sqrt(shape.head_dim) for keys, _ in kept]
            weights.append(torch.stack(scores).softmax(0))
            parts = [w * values[group] for w, (_, values) in zip(weights[-1], kept, strict=True)]
            gathered.append(torch.stack(parts).sum(0))
        outputs.append(attention.o_proj(torch.cat(gathered)))
        dropped = drop(torch.stack(weights).mean(0))
        if dropped is not None:
            del kept[dropped]
    return torch.stack(outputs)


def drop_none(_weights_T: Tensor) -> int | None:
    """All are kept."""
    return None


def drop_oldest(window: int) -> Drop:
    """So that with the token that comes next there are `window`."""
    return lambda weights_T: 0 if len(weights_T) == window else None


def drop_least(num_kept: int) -> Drop:
    """So that `num_kept` are left."""
    return lambda weights_T: int(weights_T.argmin()) if len(weights_T) > num_kept else None


def _heads(projected_X: Tensor, number: int) -> list[Tensor]:
    return list(projected_X.chunk(number))


def _turn(attention: Attention, x_P: Tensor, position: int) -> Tensor:
    """Turns channel pairs (i, i + R / 2) by position * theta ** (-2 i / R)."""
    size = attention.shape.rotary_size
    turned_P = x_P.clone()
    for i in range(size // 2):
        angle = position * attention.shape.rope_theta ** (-2 * i / size)
        a, b = x_P[i], x_P[i + size // 2]
        turned_P[i] = a * math.cos(angle) - b * math.sin(angle)
        turned_P[i + size // 2] = b * math.cos(angle) + a * math.sin(angle)
    return turned_P
