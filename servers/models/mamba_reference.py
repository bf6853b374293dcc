"""Mamba and Falcon Mamba as their equations say it, token by token, channel by channel.

Slow, and what the fast paths are held to.
Shapes: L tokens, D width, I inner width, N state, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.mamba import MambaMixer, MambaModel


@torch.no_grad()
def reference_logits(model: MambaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden = [model.backbone.embeddings.weight[token] for token in tokens]
    layers: list[Any] = list(model.backbone.layers)
    for layer in layers:
        normed = [_normed(x_D) * layer.norm.weight for x_D in hidden]
        mixed = reference_mix(layer.mixer, normed)
        hidden = [x_D + y_D for x_D, y_D in zip(hidden, mixed, strict=True)]
    normed = [_normed(x_D) * model.backbone.norm_f.weight for x_D in hidden]
    return torch.stack(normed) @ model.head_weight.T


def reference_mix(mixer: MambaMixer, given: Sequence[Tensor]) -> list[Tensor]:
    """One mixer over a whole sequence, from an empty state."""
    shape = mixer.shape
    kernel_IK = mixer.conv1d.weight[:, 0]
    state_IN = torch.zeros(shape.inner_size, shape.state_size)
    a_IN = -torch.exp(mixer.A_log)
    inputs, outputs = [], []
    for t, x_D in enumerate(given):
        x_I, gate_I = mixer.in_proj(x_D).chunk(2)
        inputs.append(x_I)
        mixed_I = torch.zeros_like(x_I) if mixer.conv1d.bias is None else mixer.conv1d.bias
        for back in range(min(shape.conv_kernel, t + 1)):
            mixed_I = mixed_I + kernel_IK[:, -1 - back] * inputs[t - back]
        x_I = F.silu(mixed_I)
        rank, size = shape.time_step_rank, shape.state_size
        dt_R, b_N, c_N = mixer.x_proj(x_I).split([rank, size, size])
        if shape.inner_epsilon is not None:
            dt_R, b_N, c_N = (_normed(part, shape.inner_epsilon) for part in (dt_R, b_N, c_N))
        dt_I = F.softplus(mixer.dt_proj(dt_R))
        for i in range(shape.inner_size):
            decay_N = torch.exp(dt_I[i] * a_IN[i])
            state_IN[i] = decay_N * state_IN[i] + dt_I[i] * b_N * x_I[i]
        y_I = state_IN @ c_N + mixer.D * x_I
        outputs.append(mixer.out_proj(y_I * F.silu(gate_I)))
    return outputs


def _normed(x: Tensor, epsilon: float = 1e-5) -> Tensor:
    return x / torch.sqrt(x.square().mean() + epsilon)
