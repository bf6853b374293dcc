"""Hawk and Griffin as their equations say it, token by token, block by block, head by head.

Slow, and what the fast paths are held to.
Shapes: L tokens, D width, I inner width, K width of a block, P head width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.recurrent_gemma import RecurrentGemmaModel


@torch.no_grad()
def reference_logits(model: RecurrentGemmaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    embedding_VD = model.model.embed_tokens.weight
    scale = torch.tensor(embedding_VD.shape[1] ** 0.5).bfloat16().float()
    hidden = [embedding_VD[token] * scale for token in tokens]
    layers: list[Any] = list(model.model.layers)
    for layer, attends in zip(layers, model.config.attends, strict=True):
        mix = _attend if attends else _recur
        mixed = mix(layer.temporal_block, [_normed(layer.temporal_pre_norm, x_D) for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
        part = layer.mlp_block
        for t, x_D in enumerate(hidden):
            given_D = _normed(layer.channel_pre_norm, x_D)
            gate = F.gelu(part.gate_proj(given_D), approximate="tanh")
            hidden[t] = x_D + part.down_proj(gate * part.up_proj(given_D))
    normed = torch.stack([_normed(model.model.final_norm, x_D) for x_D in hidden])
    cap = model.config.soft_cap
    return cap * torch.tanh(normed @ model.head_weight.T / cap)


def _recur(block: Any, given: Sequence[Tensor]) -> list[Tensor]:
    unit, kernel_IC = block.rg_lru, block.conv_1d.weight[:, 0]
    state_I = torch.zeros(len(kernel_IC))
    inputs, outputs = [], []
    for t, x_D in enumerate(given):
        inputs.append(block.linear_x(x_D))
        x_I = block.conv_1d.bias
        for back in range(min(kernel_IC.shape[1], t + 1)):
            x_I = x_I + kernel_IC[:, -1 - back] * inputs[t - back]
        i_I = _blockwise(x_I, unit.input_gate_weight, unit.input_gate_bias).sigmoid()
        r_I = _blockwise(x_I, unit.recurrent_gate_weight, unit.recurrent_gate_bias).sigmoid()
        a_I = torch.exp(-8 * F.softplus(unit.recurrent_param) * r_I)
        scale_I = torch.sqrt(1 - a_I**2) if t else torch.ones_like(a_I)
        state_I = a_I * state_I + scale_I * i_I * x_I
        gate_I = F.gelu(block.linear_y(x_D), approximate="tanh")
        outputs.append(block.linear_out(state_I * gate_I))
    return outputs


def _blockwise(x_I: Tensor, weight_HKK: Tensor, bias_HK: Tensor) -> Tensor:
    size = bias_HK.shape[1]
    return torch.cat(
        [
            x_I[h * size : (h + 1) * size] @ weight_KK + bias_K
            for h, (weight_KK, bias_K) in enumerate(zip(weight_HKK, bias_HK, strict=True))
        ]
    )


def _attend(block: Any, given: Sequence[Tensor]) -> list[Tensor]:
    shape = block.shape
    per_group = shape.num_heads // shape.num_key_value_heads
    keys, values, outputs = [], [], []
    for t, x_D in enumerate(given):
        query_HP = _turned(block.q_proj(x_D).view(shape.num_heads, -1), t, shape)
        keys.append(_turned(block.k_proj(x_D).view(shape.num_key_value_heads, -1), t, shape))
        values.append(block.v_proj(x_D).view(shape.num_key_value_heads, -1))
        near = slice(max(0, t + 1 - block.window), t + 1)
        heads = []
        for h, query_P in enumerate(query_HP):
            scores = [query_P @ key_GP[h // per_group] for key_GP in keys[near]]
            shares = torch.softmax(torch.stack(scores) / shape.head_dim**0.5, 0)
            seen = [value_GP[h // per_group] for value_GP in values[near]]
            heads.append(shares @ torch.stack(seen))
        outputs.append(block.o_proj(torch.cat(heads)))
    return outputs


def _turned(x_HP: Tensor, position: int, shape: Any) -> Tensor:
    """Channels i and i + R / 2 are the plane that is turned by position / theta^(2 i / R)."""
    half = shape.rotary_size // 2
    turned_HP = x_HP.clone()
    for i in range(half):
        angle = torch.tensor(position * shape.rope_theta ** (-i / half))
        first_H, second_H = x_HP[:, i], x_HP[:, i + half]
        turned_HP[:, i] = first_H * angle.cos() - second_H * angle.sin()
        turned_HP[:, i + half] = second_H * angle.cos() + first_H * angle.sin()
    return turned_HP


def _normed(norm: Any, x_D: Tensor) -> Tensor:
    normed_D: Tensor = x_D / torch.sqrt(x_D.square().mean() + 1e-6) * (1 + norm.weight)
    return normed_D
