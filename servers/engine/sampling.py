"""Draws the next token of every row; no row's draw depends on another row.

Shapes: B rows, V vocabulary, R rows that are drawn at random.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from harness_servers.generation import Sampling


def draw(logits_BV: Tensor, samplings: Sequence[Sampling], positions: Sequence[int]) -> list[int]:
    """One token a row: the likeliest where the temperature is 0, else by the row's own chance.

    `positions` counts each row's earlier draws: seed and position decide the draw.
    """
    tokens: list[int] = logits_BV.argmax(dim=-1).tolist()
    random_rows = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if random_rows:
        chosen = [samplings[row] for row in random_rows]
        chances = [uniform(samplings[row].seed, positions[row]) for row in random_rows]
        drawn = _draw_random(logits_BV[random_rows], chosen, chances)
        for row, token in zip(random_rows, drawn, strict=True):
            tokens[row] = token
    return tokens


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that is a pure function of its arguments."""
    digest = hashlib.blake2b(f"{seed}/{position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def _draw_random(
    logits_RV: Tensor, samplings: Sequence[Sampling], chances: Sequence[float]
) -> list[int]:
    """Inverts each row's distribution over what top_k, then top_p leave.

    In the order of the vocabulary: in that of the logits, two that are equal but for rounding would
    change places with the size of the batch.
    """
    temperature_R1 = torch.tensor([[s.temperature] for s in samplings], dtype=torch.float64)
    shifted_RV = logits_RV.double() - logits_RV.amax(dim=-1, keepdim=True)
    probability_RV = (shifted_RV / temperature_R1).softmax(dim=-1)
    if any(s.top_k or s.top_p < 1 for s in samplings):
        probability_RV = probability_RV * _likeliest(probability_RV, samplings)
    cumulative_RV = probability_RV.cumsum(dim=-1)
    target_R = torch.tensor(chances, dtype=torch.float64) * cumulative_RV[:, -1]
    tokens: list[int] = (cumulative_RV <= target_R[:, None]).sum(dim=-1).tolist()
    return tokens


def _likeliest(probability_RV: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Which tokens are left: the top_k, and of these the fewest that make up a share of top_p."""
    size = probability_RV.shape[1]
    sorted_RV, tokens_RV = probability_RV.sort(dim=-1, descending=True, stable=True)
    top_k_R1 = torch.tensor([[s.top_k or size] for s in samplings])
    sorted_RV = sorted_RV * (torch.arange(size)[None, :] < top_k_R1)
    top_p_R1 = torch.tensor([[s.top_p] for s in samplings], dtype=torch.float64)
    before_RV = sorted_RV.cumsum(dim=-1) - sorted_RV
    is_left_RV = (before_RV < top_p_R1 * sorted_RV.sum(dim=-1, keepdim=True)) & (sorted_RV > 0)
    is_left_RV[:, 0] = True
    return torch.zeros_like(is_left_RV).scatter_(1, tokens_RV, is_left_RV)
