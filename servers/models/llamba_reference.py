"""Llamba as its equations say it, token by token and head by head.

Slow, and what the fast paths are held to.
Shapes: L tokens, D width, I inner width, P head width, N state, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.llamba import DiscreteMamba2, LlambaModel


@torch.no_grad()
def reference_logits(model: LlambaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden = [model.backbone.embedding.weight[token] for token in tokens]
    layers: list[Any] = list(model.backbone.layers)
    for layer in layers:
        mixed = _mix(layer.mixer, [_normed(x_D, layer.input_layernorm) for x_D in hidden])
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
        hidden = [x_D + _feed(layer, x_D) for x_D in hidden]
    normed_LD = torch.stack([_normed(x_D, model.backbone.final_layernorm) for x_D in hidden])
    logits_LV = normed_LD @ model.head_weight.T
    return logits_LV if model.head_bias is None else logits_LV + model.head_bias


def _mix(mixer: DiscreteMamba2, given: Sequence[Tensor]) -> list[Tensor]:
    shape = mixer.shape
    width = shape.inner_size // shape.num_heads
    num_shared = shape.num_heads // shape.num_groups
    groups_size = shape.num_groups * shape.state_size
    states = [torch.zeros(width, shape.state_size) for _ in range(shape.num_heads)]
    inputs, outputs = [], []
    for t, x_D in enumerate(given):
        sizes = [mixer.conv1d.in_channels, shape.inner_size, shape.num_heads]
        mixed_X, gate_I, decay_H = mixer.in_proj(x_D).split(sizes)
        inputs.append(mixed_X)
        mixed_X = sum(
            mixer.conv1d.weight[:, 0, -1 - back] * inputs[t - back]
            for back in range(min(shape.conv_kernel, t + 1))
        )
        if mixer.conv1d.bias is not None:
            mixed_X = mixed_X + mixer.conv1d.bias
        x_I, b_GN, c_GN = mixed_X.split([shape.inner_size, groups_size, groups_size])
        heads = []
        for head in range(shape.num_heads):
            x_P = x_I[head * width : (head + 1) * width]
            group = slice(
                head // num_shared * shape.state_size, (head // num_shared + 1) * shape.state_size
            )
            decay = torch.exp(-F.softplus(decay_H[head]))
            states[head] = decay * states[head] + torch.outer(x_P, b_GN[group])
            heads.append(states[head] @ c_GN[group] + mixer.D[head] * x_P)
        gate_I = gate_I if mixer.z_bias is None else gate_I + mixer.z_bias
        outputs.append(mixer.out_proj(torch.cat(heads) * F.silu(gate_I)))
    return outputs


def _feed(layer: Any, x_D: Tensor) -> Tensor:
    normed_D, mlp = _normed(x_D, layer.post_attention_layernorm), layer.mlp
    inner = F.silu(mlp.gate_proj(normed_D)) * mlp.up_proj(normed_D)
    output_D: Tensor = mlp.down_proj(inner)
    return output_D


def _normed(x_D: Tensor, norm: Any) -> Tensor:
    normed_D: Tensor = x_D / torch.sqrt(x_D.square().mean() + 1e-5) * norm.weight
    return normed_D
