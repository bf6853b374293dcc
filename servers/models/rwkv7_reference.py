"""RWKV-7 as its equations say it, token by token, head by head.

Slow, and what the fast paths are held to. Source: arXiv 2503.14456.
Shapes: L tokens, D width, E width of the values, K keys, V values (logits: vocabulary).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness_servers.models.rwkv7 import Rwkv7Model


@torch.no_grad()
def reference_logits(model: Rwkv7Model, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    layers: list[Any] = list(model.model.layers)
    hidden = [model.model.embeddings.weight[token] for token in tokens]
    if hasattr(layers[0], "pre_norm"):
        hidden = [_normed(x_D, layers[0].pre_norm) for x_D in hidden]
    first: list[Tensor] = []
    for layer in layers:
        mixed, values = _time_mix(
            layer.attn, [_normed(x_D, layer.attn_norm) for x_D in hidden], first
        )
        first = first or values
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
        mixed = _channel_mix(layer.ffn, [_normed(x_D, layer.ffn_norm) for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
    return torch.stack([_normed(x_D, model.model.norm) for x_D in hidden]) @ model.head_weight.T


def _time_mix(
    mix: Any, given: Sequence[Tensor], first: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs (D), and the values (E), of all tokens."""
    heads = range(mix.shape.num_heads)
    keys, values = mix.shape.key_size, mix.shape.value_width // mix.shape.num_heads
    states = [torch.zeros(values, keys) for _ in heads]
    outputs, all_values = [], []
    before_D = torch.zeros_like(given[0])
    for t, x_D in enumerate(given):
        r_D, w_D, k_D, v_D, a_D, g_D = (
            (1 - mu_D.flatten()) * x_D + mu_D.flatten() * before_D
            for mu_D in (mix.x_r, mix.x_w, mix.x_k, mix.x_v, mix.x_a, mix.x_g)
        )
        before_D = x_D
        rate_D = torch.sigmoid(_low_rank(mix.w_lora, w_D, torch.tanh))
        decay_D = torch.exp(-math.exp(-0.5) * rate_D)
        learning_D = torch.sigmoid(_low_rank(mix.a_lora, a_D))
        value_E = mix.v_proj.weight @ v_D
        if first:
            share_E = torch.sigmoid(_low_rank(mix.v_lora, v_D))
            value_E = (1 - share_E) * value_E + share_E * first[t]
        all_values.append(value_E)
        key_D = mix.k_proj.weight @ k_D
        removed_D, kept_D = key_D * mix.k_k, key_D * (1 - mix.k_a + mix.k_a * learning_D)
        asked_D = mix.r_proj.weight @ r_D
        read = []
        for h in heads:
            of_keys, of_values = (
                slice(h * keys, (h + 1) * keys),
                slice(h * values, (h + 1) * values),
            )
            removed_K = removed_D[of_keys] / removed_D[of_keys].norm()
            key_K, value_V, asked_K = kept_D[of_keys], value_E[of_values], asked_D[of_keys]
            changed_KK = torch.diag(decay_D[of_keys]) - torch.outer(
                removed_K, learning_D[of_keys] * removed_K
            )
            states[h] = states[h] @ changed_KK + torch.outer(value_V, key_K)
            read_V = states[h] @ asked_K
            centred_V = read_V - read_V.mean()
            normed_V = centred_V / torch.sqrt(centred_V.square().mean() + mix.g_norm.eps)
            normed_V = normed_V * mix.g_norm.weight[of_values] + mix.g_norm.bias[of_values]
            read.append(normed_V + (asked_K * mix.r_k[h] * key_K).sum() * value_V)
        gate_E = _low_rank(mix.g_lora, g_D, torch.sigmoid)
        outputs.append(mix.o_proj.weight @ (gate_E * torch.cat(read)))
    return outputs, all_values


def _channel_mix(mix: Any, given: Sequence[Tensor]) -> list[Tensor]:
    outputs = []
    before_D = torch.zeros_like(given[0])
    for x_D in given:
        inner = mix.key.weight @ (x_D + (before_D - x_D) * mix.x_k)
        outputs.append(mix.value.weight @ inner.clamp(min=0).square())
        before_D = x_D
    return outputs


def _low_rank(module: Any, x_D: Tensor, activation: Any = None) -> Tensor:
    first, _, second = module.lora
    inner = first.weight @ x_D
    projected: Tensor = second.weight @ (inner if activation is None else activation(inner))
    return projected if second.bias is None else projected + second.bias


def _normed(x_D: Tensor, norm: Any) -> Tensor:
    centred_D = x_D - x_D.mean()
    normed_D: Tensor = centred_D / torch.sqrt(centred_D.square().mean() + norm.eps) * norm.weight
    return normed_D if norm.bias is None else normed_D + norm.bias
