"""Taipan as its equations say it, token by token: slow, and what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.attention_reference import attend_and_drop, drop_oldest
from harness_servers.models.mamba2_reference import reference_mix
from harness_servers.models.taipan import TaipanModel
from harness_servers.models.taipan_layers import MambaLayer, SelectiveLayer


@torch.no_grad()
def reference_logits(model: TaipanModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden_LD = model.model.embed_tokens.weight[torch.tensor(tokens)]
    for layer in model.layers:
        if isinstance(layer, MambaLayer):
            hidden_LD = hidden_LD + reference_mix(layer.mixer, _normed(hidden_LD, layer.norm))
        elif isinstance(layer, SelectiveLayer):
            hidden_LD = _attend(layer, hidden_LD)
    return _normed(hidden_LD, model.model.final_layernorm) @ model.head_weight.T


def _attend(layer: SelectiveLayer, hidden_LD: Tensor) -> Tensor:
    given_LD = _normed(hidden_LD, layer.norm)
    gathered_LD = attend_and_drop(layer.self_attn, given_LD, drop_oldest(layer.self_attn.window))
    outputs = []
    for h_D, x_D, o_D in zip(hidden_LD, given_LD, gathered_LD, strict=True):
        passes, attends = layer.gate.weight @ x_D + layer.gate.bias
        likely = 1 / (1 + torch.exp(passes - attends))
        out_D = (1 - likely) * h_D + likely * o_D if attends > passes else h_D
        f_D = _normed(out_D, layer.pre_ff_layernorm)
        inner = F.silu(layer.feed_forward.gate_proj(f_D)) * layer.feed_forward.up_proj(f_D)
        outputs.append(out_D + layer.feed_forward.down_proj(inner))
    return torch.stack(outputs)


def _normed(x_D: Tensor, norm: torch.nn.RMSNorm) -> Tensor:
    epsilon = norm.eps or 0.0
    return x_D / torch.sqrt(x_D.square().mean(-1, keepdim=True) + epsilon) * norm.weight
