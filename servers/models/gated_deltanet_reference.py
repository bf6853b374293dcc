"""Gated DeltaNet as its equations say it, token by token, head by head.

Slow, and what the fast paths are held to. Source: arXiv 2412.06464, sections 3.1 and 3.4.
Shapes: L tokens, D width, X channels, K keys, V values.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.gated_deltanet import GatedDeltaNet, GatedDeltaNetModel


@torch.no_grad()
def reference_logits(model: GatedDeltaNetModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden = [model.model.embeddings.weight[token] for token in tokens]
    layers: list[Any] = list(model.model.layers)
    for layer in layers:
        mixed = mix(layer.attn, [_normed(x_D, layer.attn_norm) for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
        hidden = [x_D + _feed_forward(layer.mlp, _normed(x_D, layer.mlp_norm)) for x_D in hidden]
    return torch.stack([_normed(x_D, model.model.norm) for x_D in hidden]) @ model.head_weight.T


def mix(mixer: GatedDeltaNet, given: Sequence[Tensor]) -> list[Tensor]:
    """The mixer's outputs (D) for all tokens."""
    shape = mixer.shape
    sharing = shape.num_value_heads // shape.num_key_heads
    queries, keys, values = (_channels(mixer, letter, given) for letter in "qkv")
    heads = range(shape.num_value_heads)
    states = [torch.zeros(shape.value_size, shape.key_size) for _ in heads]
    outputs = []
    for x_D, q_X, k_X, v_X in zip(given, queries, keys, values, strict=True):
        beta_H = torch.sigmoid(mixer.b_proj(x_D)) * shape.highest_strength
        alpha_H = torch.exp(-mixer.A_log.exp() * F.softplus(mixer.a_proj(x_D) + mixer.dt_bias))
        read = []
        for h in heads:
            q_K = _unit(torch.split(q_X, shape.key_size)[h // sharing]) / shape.key_size**0.5
            k_K = _unit(torch.split(k_X, shape.key_size)[h // sharing])
            v_V = torch.split(v_X, shape.value_size)[h]
            unlearn_KK = torch.eye(shape.key_size) - beta_H[h] * torch.outer(k_K, k_K)
            states[h] = alpha_H[h] * states[h] @ unlearn_KK + beta_H[h] * torch.outer(v_V, k_K)
            read.append(_normed(states[h] @ q_K, mixer.o_norm))
        read_X = torch.cat(read)
        if mixer.g_proj is not None:
            read_X = read_X * F.silu(mixer.g_proj(x_D))
        outputs.append(mixer.o_proj(read_X))
    return outputs


def _channels(mixer: Any, letter: str, given: Sequence[Tensor]) -> list[Tensor]:
    inputs = [getattr(mixer, f"{letter}_proj")(x_D) for x_D in given]
    if mixer.shape.conv_kernel is None:
        return [F.silu(x_X) for x_X in inputs]
    kernel_XK = getattr(mixer, f"{letter}_conv1d").weight[:, 0]
    return [
        F.silu(
            sum(
                (kernel_XK[:, -1 - back] * inputs[t - back])
                for back in range(min(mixer.shape.conv_kernel, t + 1))
            )
        )
        for t in range(len(inputs))
    ]


def _feed_forward(mlp: Any, x_D: Tensor) -> Tensor:
    output_D: Tensor = mlp.down_proj(F.silu(mlp.gate_proj(x_D)) * mlp.up_proj(x_D))
    return output_D


def _normed(x: Tensor, norm: Any) -> Tensor:
    normed: Tensor = x / torch.sqrt(x.square().mean() + norm.eps) * norm.weight
    return normed


def _unit(x: Tensor) -> Tensor:
    return x / torch.sqrt(x.square().sum() + 1e-6)
