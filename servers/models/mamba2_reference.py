"""Mamba2 as its equations say it, token by token: slow, and what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary, X convolved channels, I inner width, H heads; see ssd.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from harness_servers.models import ssd
from harness_servers.models.mamba2 import Mamba2Model
from harness_servers.models.mamba2_mixer import Adaptation, Mamba2Mixer


@torch.inference_mode()
def reference_logits(model: Mamba2Model, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""
    hidden_LD = model.backbone.embeddings.weight[torch.tensor(tokens)]
    for _, block in model.backbone.blocks():
        hidden_LD = hidden_LD + reference_mix(block.mixer, block.norm(hidden_LD))
    head = model.backbone.embeddings if model.lm_head is None else model.lm_head
    logits_LV: Tensor = model.backbone.norm_f(hidden_LD) @ head.weight.T
    return logits_LV


def reference_mix(
    mixer: Mamba2Mixer, hidden_LD: Tensor, adaptation: Adaptation | None = None
) -> Tensor:
    """One mixer over a whole sequence, (L, D)."""
    shape = mixer.shape
    sizes = [shape.inner_size, shape.conv_size, shape.num_heads]
    gate_LI, mixed_LX, dt_LH = torch.split(mixer.in_proj(hidden_LD), sizes, -1)
    if adaptation is not None:
        scale_L1, shift_LH = adaptation
        dt_LH = dt_LH * scale_L1 + shift_LH
    dt_LH = F.softplus(dt_LH + mixer.dt_bias).clamp(*shape.time_step_limit)
    x_LI, b_LX, c_LX = torch.split(
        F.silu(_convolve(mixer, mixed_LX)),
        [shape.inner_size, *[shape.num_groups * shape.state_size] * 2],
        -1,
    )
    length = len(hidden_LD)
    given = ssd.ScanInput(
        x_BLHP=x_LI.reshape(1, length, shape.num_heads, shape.head_dim),
        dt_BLH=dt_LH[None],
        a_H=-mixer.A_log.exp(),
        b_BLGN=b_LX.reshape(1, length, shape.num_groups, shape.state_size),
        c_BLGN=c_LX.reshape(1, length, shape.num_groups, shape.state_size),
    )
    _, empty_BHPN = shape.init_state(1, hidden_LD.device)
    y_BLHP, _ = ssd.scan_slow(given, empty_BHPN)
    y_LI = (y_BLHP + mixer.D[:, None] * given.x_BLHP).reshape(length, -1) * F.silu(gate_LI)
    normed = [
        part_L * torch.rsqrt(part_L.square().mean(-1, keepdim=True) + shape.norm_epsilon)
        for part_L in y_LI.chunk(shape.num_normed, dim=-1)
    ]
    mixed_LD: Tensor = mixer.out_proj(torch.cat(normed, dim=-1) * mixer.norm.weight)
    return mixed_LD


def _convolve(mixer: Mamba2Mixer, mixed_LX: Tensor) -> Tensor:
    """Each channel's weighted sum of its last K inputs; before the first they are zero."""
    width = mixer.shape.conv_kernel
    convolved = []
    for t in range(len(mixed_LX)):
        total_X = torch.zeros_like(mixed_LX[0])
        for k in range(width):
            source = t - (width - 1) + k
            if source >= 0:
                total_X = total_X + mixer.conv1d.weight[:, 0, k] * mixed_LX[source]
        convolved.append(total_X)
    convolved_LX = torch.stack(convolved)
    return convolved_LX if mixer.conv1d.bias is None else convolved_LX + mixer.conv1d.bias
