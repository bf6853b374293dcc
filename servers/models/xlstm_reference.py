"""xLSTM as its equations say it, token by token, head by head, channel by channel.

Slow, and what the fast paths are held to.
Shapes: L tokens, D width, K key width, P value width of a head, V vocabulary.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.xlstm import XlstmModel


@torch.no_grad()
def reference_logits(model: XlstmModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    backbone, config = model.backbone, model.config
    hidden = [backbone.embeddings.weight[token] for token in tokens]
    blocks: list[Any] = list(backbone.blocks)
    for index, block in enumerate(blocks):
        if index in config.slstm_layers:
            mixed = _slstm(block.slstm_layer, [_normed(block.norm_slstm, x_D) for x_D in hidden])
        else:
            mixed = _mlstm(block.mlstm_layer, [_normed(block.norm_mlstm, x_D) for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
        part = block.ffn
        for t, x_D in enumerate(hidden):
            given_D = _normed(block.norm_ffn, x_D)
            gated = F.silu(part.proj_up_gate(given_D)) * part.proj_up(given_D)
            hidden[t] = x_D + part.proj_down(gated)
    normed = torch.stack([_normed(backbone.out_norm, x_D) for x_D in hidden])
    return _capped(normed @ model.head_weight.T, config.logit_cap)


def _mlstm(layer: Any, given: Sequence[Tensor]) -> list[Tensor]:
    config = layer.config
    num_heads, epsilon = config.num_heads, config.epsilon
    keys, values = config.key_size // num_heads, config.value_size // num_heads
    memory = [torch.zeros(values, keys) for _ in range(num_heads)]
    normalizer = [torch.zeros(keys) for _ in range(num_heads)]
    scale = [0.0] * num_heads
    outputs = []
    for x_D in given:
        heads = []
        for h in range(num_heads):
            q_K = layer.q(x_D)[h * keys : (h + 1) * keys] / math.sqrt(keys)
            k_K = layer.k(x_D)[h * keys : (h + 1) * keys]
            v_P = layer.v(x_D)[h * values : (h + 1) * values]
            log_i = float(_capped(layer.igate_preact(x_D)[h], config.gate_cap))
            log_f = float(F.logsigmoid(_capped(layer.fgate_preact(x_D)[h], config.gate_cap)))
            new_scale = max(log_f + scale[h], log_i)
            i, f = math.exp(log_i - new_scale), math.exp(log_f + scale[h] - new_scale)
            memory[h] = f * memory[h] + i * torch.outer(v_P, k_K)
            normalizer[h] = f * normalizer[h] + i * k_K
            scale[h] = new_scale
            divisor = max(abs(float(normalizer[h] @ q_K)), math.exp(-new_scale)) + epsilon
            heads.append(memory[h] @ q_K / divisor)
        gate = torch.sigmoid(layer.ogate_preact(x_D))
        outputs.append(layer.out_proj(gate * _head_normed(layer.multihead_norm, heads)))
    return outputs


def _slstm(layer: Any, given: Sequence[Tensor]) -> list[Tensor]:
    config = layer.config
    num_heads, width = config.slstm_num_heads, config.hidden_size
    size = width // num_heads
    kernel_DC = layer.conv1d.weight[:, 0]
    c, n, m, h = (torch.zeros(width) for _ in range(4))
    outputs = []
    for t, x_D in enumerate(given):
        short_D = layer.conv1d.bias
        for back in range(min(config.slstm_conv_kernel, t + 1)):
            short_D = short_D + kernel_DC[:, -1 - back] * given[t - back]
        short_D = F.silu(short_D)
        of_hidden = [
            torch.cat(
                [
                    h[k * size : (k + 1) * size]
                    @ layer.recurrent_weight[k][:, gate * size : (gate + 1) * size]
                    for k in range(num_heads)
                ]
            )
            for gate in range(4)
        ]
        z = torch.tanh(layer.z_preact(x_D) + of_hidden[0])
        log_i = _capped(layer.igate_preact(short_D) + of_hidden[1], config.gate_cap)
        log_f = F.logsigmoid(_capped(layer.fgate_preact(short_D) + of_hidden[2], config.gate_cap))
        o = torch.sigmoid(layer.ogate_preact(x_D) + of_hidden[3])
        new_m = torch.maximum(log_f + m, log_i)
        i, f = torch.exp(log_i - new_m), torch.exp(log_f + m - new_m)
        c, n, m = f * c + i * z, f * n + i, new_m
        h = o * c / n
        outputs.append(_head_normed(layer.multihead_norm, h.view(num_heads, size)))
    return outputs


def _capped(x: Tensor, cap: float) -> Tensor:
    return cap * torch.tanh(x / cap)


def _head_normed(norm: Any, heads: Iterable[Tensor]) -> Tensor:
    normed = [
        (h_P - h_P.mean()) / torch.sqrt(h_P.var(correction=0) + norm._epsilon) for h_P in heads
    ]
    return _with_bias(norm, torch.cat(normed) * norm.weight)


def _normed(norm: Any, x_D: Tensor) -> Tensor:
    return _with_bias(norm, x_D / torch.sqrt(x_D.square().mean() + norm.eps) * norm.weight)


def _with_bias(norm: Any, x_D: Tensor) -> Tensor:
    bias: Tensor | None = getattr(norm, "bias", None)
    return x_D if bias is None else x_D + bias
