"""Gated Slot Attention as its equations say it, token by token, head by head, slot by slot.

Slow, and what the fast paths are held to. Source: arXiv 2409.07146, section 3.
Shapes: L tokens, D width, X channels, K keys, V values (logits: vocabulary), M slots.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.gsa import GsaModel


@torch.no_grad()
def reference_logits(model: GsaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden = [model.model.embeddings.weight[token] for token in tokens]
    layers: list[Any] = list(model.model.layers)
    for layer in layers:
        mixed = _mix(layer.attn, [_normed(x_D, layer.attn_norm) for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
        hidden = [x_D + _feed_forward(layer.mlp, _normed(x_D, layer.mlp_norm)) for x_D in hidden]
    return torch.stack([_normed(x_D, model.model.norm) for x_D in hidden]) @ model.head_weight.T


def _mix(mixer: Any, given: Sequence[Tensor]) -> list[Tensor]:
    shape = mixer.shape
    heads, slots = range(shape.num_heads), range(shape.num_slots)
    sharing = shape.num_heads // shape.num_kv_heads
    queries, keys, values = (_channels(mixer, letter, given) for letter in "qkv")
    # Of each head, as if it shared none of them.
    slot_keys = [torch.zeros(shape.num_slots, shape.key_size) for _ in heads]
    slot_values = [torch.zeros(shape.num_slots, shape.value_size) for _ in heads]
    outputs = []
    for x_D, q_X, k_X, v_X in zip(given, queries, keys, values, strict=True):
        gates = torch.split(torch.sigmoid(mixer.f_proj.weight @ x_D), shape.num_slots)
        read = []
        for h in heads:
            keep_M = gates[h // sharing] ** (1 / shape.gate_normalizer)
            q_K = _features(mixer, torch.split(q_X, shape.key_size)[h])
            k_K = _features(mixer, torch.split(k_X, shape.key_size)[h // sharing])
            v_V = F.silu(torch.split(v_X, shape.value_size)[h // sharing])
            for m in slots:
                slot_keys[h][m] = keep_M[m] * slot_keys[h][m] + (1 - keep_M[m]) * k_K
                slot_values[h][m] = keep_M[m] * slot_values[h][m] + (1 - keep_M[m]) * v_V
            read.append(slot_values[h].T @ torch.softmax(slot_keys[h] @ q_K, 0))
        outputs.append(mixer.o_proj.weight @ _normed(F.silu(torch.cat(read)), mixer.g_norm))
    return outputs


def _features(mixer: Any, x_K: Tensor) -> Tensor:
    if mixer.shape.feature_map == "swish":
        return x_K * torch.sigmoid(x_K)
    if mixer.shape.feature_map == "t2r":
        x_K = mixer.feature_map.layer.weight @ x_K
    return x_K.clamp(min=0)


def _channels(mixer: Any, letter: str, given: Sequence[Tensor]) -> list[Tensor]:
    inputs = [getattr(mixer, f"{letter}_proj").weight @ x_D for x_D in given]
    if mixer.shape.conv_kernel is None:
        return inputs
    kernel_XK = getattr(mixer, f"{letter}_conv1d").weight[:, 0]
    outputs = []
    for t in range(len(inputs)):
        mixed_X = torch.zeros_like(inputs[t])
        for back in range(min(mixer.shape.conv_kernel, t + 1)):
            mixed_X = mixed_X + kernel_XK[:, -1 - back] * inputs[t - back]
        outputs.append(F.silu(mixed_X))
    return outputs


def _feed_forward(mlp: Any, x_D: Tensor) -> Tensor:
    output_D: Tensor = mlp.down_proj(F.silu(mlp.gate_proj(x_D)) * mlp.up_proj(x_D))
    return output_D


def _normed(x: Tensor, norm: Any) -> Tensor:
    normed: Tensor = x / torch.sqrt(x.square().mean() + norm.eps) * norm.weight
    return normed
