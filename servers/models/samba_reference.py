"""Samba as its equations say it, token by token: slow, and what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.attention_reference import attend_and_drop, drop_oldest
from harness_servers.models.mamba import MambaMixer
from harness_servers.models.mamba_reference import reference_mix
from harness_servers.models.samba import SambaModel


@torch.no_grad()
def reference_logits(model: SambaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden_LD = model.backbone.embeddings.weight[torch.tensor(tokens)]
    layers: list[Any] = list(model.backbone.layers)
    for layer in layers:
        given_LD = _normed(hidden_LD) * layer.mixer_norm.weight
        if isinstance(layer.mixer, MambaMixer):
            mixed_LD = torch.stack(reference_mix(layer.mixer, list(given_LD)))
        else:
            mixed_LD = attend_and_drop(layer.mixer, given_LD, drop_oldest(layer.mixer.window))
        hidden_LD = hidden_LD + mixed_LD
        given_LD = _normed(hidden_LD) * layer.mlp_norm.weight
        inner = F.silu(layer.mlp.gate_proj(given_LD)) * layer.mlp.up_proj(given_LD)
        hidden_LD = hidden_LD + layer.mlp.down_proj(inner)
    return (_normed(hidden_LD) * model.backbone.norm_f.weight) @ model.head_weight.T


def _normed(x_LD: Tensor) -> Tensor:
    return x_LD / torch.sqrt(x_LD.square().mean(-1, keepdim=True) + 1e-5)
