"""A Llama under its cache policy, as its equations say it: what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from harnessapi.cache_policy import WINDOW
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.attention_reference import (
    Drop,
    attend_and_drop,
    drop_least,
    drop_none,
    drop_oldest,
)
from harness_servers.models.llama_model import LlamaModel


@torch.no_grad()
def reference_logits(model: LlamaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden_LD = model.model.embed_tokens.weight[torch.tensor(tokens)]
    layers: list[Any] = list(model.model.layers)
    for index, layer in enumerate(layers):
        given_LD = _normed(model, hidden_LD) * layer.input_layernorm.weight
        mixed_LD = attend_and_drop(layer.self_attn, given_LD, _rule(model, index))
        hidden_LD = hidden_LD + mixed_LD
        given_LD = _normed(model, hidden_LD) * layer.post_attention_layernorm.weight
        inner = F.silu(layer.mlp.gate_proj(given_LD)) * layer.mlp.up_proj(given_LD)
        hidden_LD = hidden_LD + layer.mlp.down_proj(inner)
    return (_normed(model, hidden_LD) * model.model.norm.weight) @ model.head_weight.T


def _rule(model: LlamaModel, index: int) -> Drop:
    policy = model.shape.policy
    if policy.is_full(index):
        return drop_none
    return (drop_oldest if policy.kind == WINDOW else drop_least)(policy.num_tokens)


def _normed(model: LlamaModel, x_LD: Tensor) -> Tensor:
    return x_LD / torch.sqrt(x_LD.square().mean(-1, keepdim=True) + model.shape.norm_epsilon)
