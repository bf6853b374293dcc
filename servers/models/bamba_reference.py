"""The hybrid as its equations say it: slow, and what the fast paths are held to.

Shapes: L tokens, D width, V vocabulary, P head width.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from harness_servers.models.attention import Attention
from harness_servers.models.bamba import BambaModel
from harness_servers.models.bamba_layers import Layer
from harness_servers.models.mamba2_reference import reference_mix


@torch.inference_mode()
def reference_logits(model: BambaModel, tokens: Sequence[int]) -> Tensor:
    """Logits (L, V) after every token, from an empty state."""

    def mix(_index: int, layer: Layer, x_LD: Tensor) -> Tensor:
        if layer.attends:
            return reference_attend(layer.self_attn, x_LD)
        return reference_mix(layer.mamba, x_LD)

    normed_LD = model.model(torch.tensor(tokens), mix)
    head = model.model.embed_tokens if model.lm_head is None else model.lm_head
    logits_LV: Tensor = normed_LD @ head.weight.T
    return logits_LV


def reference_attend(attention: Attention, x_LD: Tensor) -> Tensor:
    """One query and one head after the other, over a whole sequence: (L, D)."""
    shape = attention.shape
    query_LX, key_LX, value_LX = (
        projection(x_LD) for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    outputs = []
    for t in range(len(x_LD)):
        heads = []
        for head in range(shape.num_heads):
            group = head * shape.num_key_value_heads // shape.num_heads
            query_P = _turn(attention, _channels(attention, query_LX[t], head), t)
            scores = [
                query_P @ _turn(attention, _channels(attention, key_LX[s], group), s)
                for s in range(t + 1)
            ]
            weights_T = (torch.stack(scores) / math.sqrt(shape.head_dim)).softmax(-1)
            values_TP = torch.stack(
                [_channels(attention, value_LX[s], group) for s in range(t + 1)]
            )
            heads.append(weights_T @ values_TP)
        outputs.append(torch.cat(heads))
    output_LD: Tensor = attention.o_proj(torch.stack(outputs))
    return output_LD


def _channels(attention: Attention, projected_X: Tensor, head: int) -> Tensor:
    width = attention.shape.head_dim
    return projected_X[head * width : (head + 1) * width]


def _turn(attention: Attention, x_P: Tensor, position: int) -> Tensor:
    """Turns channel pairs (i, i + R / 2) by position * theta ** (-2 i / R)."""
    size = attention.shape.rotary_size
    turned_P = x_P.clone()
    for i in range(size // 2):
        angle = position * attention.shape.rope_theta ** (-2 * i / size)
        a, b = x_P[i], x_P[i + size // 2]
        turned_P[i] = a * math.cos(angle) - b * math.sin(angle)
        turned_P[i + size // 2] = b * math.cos(angle) + a * math.sin(angle)
    return turned_P
