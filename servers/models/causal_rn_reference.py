"""Causal Relation Networks as their equation says it, pair by pair.

Slow, and what the fast paths are held to.
Shapes: L tokens, D width, V vocabulary.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.causal_rn import CausalRnModel, NormedRelations, Relations


@torch.no_grad()
def reference_logits(model: CausalRnModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token."""
    hidden = [model.model.embeddings.weight[token] for token in tokens]
    layers: list[Any] = list(model.model.layers)
    for layer in layers:
        told = _told(layer.relations, [_scaled(x_D) * layer.relation_norm.weight for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, told, strict=True)]
        for t, x_D in enumerate(hidden):
            normed_D = _scaled(x_D) * layer.mlp_norm.weight
            inner = F.silu(layer.mlp.gate_proj(normed_D)) * layer.mlp.up_proj(normed_D)
            hidden[t] = x_D + layer.mlp.down_proj(inner)
    normed_LD = torch.stack([_scaled(x_D) * model.model.norm.weight for x_D in hidden])
    return normed_LD @ model.head_weight.T


def _told(relations: Relations, given: Sequence[Tensor]) -> list[Tensor]:
    placed = [x_D + _wave(place, len(x_D)) for place, x_D in enumerate(given)]
    outputs = []
    for t in range(len(placed)):
        total_R = torch.zeros(relations.relation_size, dtype=torch.float64)
        for s in range(t + 1):
            relation_R = relations.before_proj(placed[s]) + relations.now_proj(placed[t])
            relation_R = relation_R.double()
            if isinstance(relations, NormedRelations):
                spread = torch.sqrt(relation_R.var(correction=0) + 1e-5)
                relation_R = (relation_R - relation_R.mean()) / spread
            total_R += relation_R.exp()
        outputs.append(relations.out_proj((total_R / total_R.square().mean().sqrt()).float()))
    return outputs


def _wave(place: int, size: int) -> Tensor:
    half = size // 2
    angles = [place / 10_000 ** (step / half) for step in range(half)]
    return torch.tensor([math.sin(one) for one in angles] + [math.cos(one) for one in angles])


def _scaled(x_D: Tensor) -> Tensor:
    return x_D / torch.sqrt(x_D.square().mean() + 1e-5)
