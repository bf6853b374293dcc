"""A Mamba2 mixer's loops over tokens, compiled, in place in the slots of a pool.

Token by token is the fastest way to read a prompt on a CPU: one head's state stays in the first
cache for all of them, where matrix products over chunks write down much that is used once.
The inner loops go over single rows of arrays, and sum up in one that nothing else can overlap:
of such the compiler makes vectors.
The tokens of all rows stand one after another, without padding.
Shapes: B rows, T tokens of all rows, W = X + H projected channels: those to convolve and the time
steps, K convolution width, J = K - 1 inputs that it remembers, I = H heads x P head width, N state,
S slots, O tokens that outputs are wanted for.
"""

import math
from typing import Final

import numpy as np

from harness_servers.models.compiled import Floats, Integers, compiled, exp, prefetch

# Numbers of the state that are on their way from an outer cache while others are changed: 4 KB.
_AHEAD: Final = 1024
_CACHE_LINE: Final = 16


@compiled
def convolve(
    projected_TW: Floats,
    weight_KX: Floats,
    bias_X: Floats,
    conv_SJX: Floats,
    slots_B: Integers,
    lengths_B: Integers,
    outputs_TX: Floats,
) -> None:
    """Silu of each channel's weighted sum of its last K inputs; the slots keep the last J."""
    num_kept, num_channels = conv_SJX.shape[1:]
    total_X = np.empty(num_channels, np.float32)
    end = 0
    for row in range(len(slots_B)):
        kept_JX = conv_SJX[slots_B[row]]
        start, end = end, end + lengths_B[row]
        for t in range(start, end):
            input_X = projected_TW[t, :num_channels]
            output_X = outputs_TX[t]
            for x in range(num_channels):
                total_X[x] = bias_X[x] + weight_KX[num_kept, x] * input_X[x]
            for j in range(num_kept):
                weight_X, kept_X = weight_KX[j], kept_JX[j]
                for x in range(num_channels):
                    total_X[x] += weight_X[x] * kept_X[x]
            for j in range(num_kept):
                kept_X = kept_JX[j]
                if j + 1 < num_kept:
                    next_X = kept_JX[j + 1]
                    for x in range(num_channels):
                        kept_X[x] = next_X[x]
                else:
                    for x in range(num_channels):
                        kept_X[x] = input_X[x]
            for x in range(num_channels):
                output_X[x] = total_X[x] / (np.float32(1.0) + exp(-total_X[x]))


@compiled
def time_steps(
    projected_TW: Floats, bias_H: Floats, lowest: float, highest: float, outputs_TH: Floats
) -> None:
    """Softplus of the last H projected channels and a bias, within bounds."""
    num_heads = len(bias_H)
    first = projected_TW.shape[1] - num_heads
    for t in range(len(projected_TW)):
        for h in range(num_heads):
            given = projected_TW[t, first + h] + bias_H[h]
            # Neither the exponential nor the sum can overflow so.
            dt = max(given, np.float32(0.0)) + np.float32(math.log1p(exp(-abs(given))))
            outputs_TH[t, h] = min(max(dt, lowest), highest)


@compiled
def scan(
    mixed_TX: Floats,
    dt_TH: Floats,
    a_H: Floats,
    skip_H: Floats,
    state_SHPN: Floats,
    slots_B: Integers,
    lengths_B: Integers,
    outputs_OI: Floats,
) -> None:
    """The recurrence of ssd.py, with D; x, B and C are read from the convolved channels.

    Outputs are made for all tokens or, where there is room for no more, for each row's last.
    """
    num_heads, width, size = state_SHPN.shape[1:]
    num_inner = num_heads * width
    num_groups = (mixed_TX.shape[1] - num_inner) // (2 * size)
    has_all = len(outputs_OI) == len(mixed_TX)
    end = 0
    for row in range(len(slots_B)):
        start, end = end, end + lengths_B[row]
        for head in range(num_heads):
            state_PN = state_SHPN[slots_B[row], head]
            b_start = num_inner + head * num_groups // num_heads * size
            c_start = b_start + num_groups * size
            for t in range(start, end):
                dt = dt_TH[t, head]
                decay = exp(dt * a_H[head])
                x_P = mixed_TX[t, head * width : (head + 1) * width]
                b_N = mixed_TX[t, b_start : b_start + size]
                if not has_all and t + 1 < end:
                    for p in range(width):
                        gain = dt * x_P[p]
                        state_N = state_PN[p]
                        for n in range(size):
                            state_N[n] = decay * state_N[n] + gain * b_N[n]
                    continue
                c_N = mixed_TX[t, c_start : c_start + size]
                y_P = outputs_OI[t if has_all else row, head * width : (head + 1) * width]
                for p in range(width):
                    gain, total = dt * x_P[p], skip_H[head] * x_P[p]
                    state_N = state_PN[p]
                    if t == start:
                        for n in range(0, size, _CACHE_LINE):
                            prefetch(state_N, n + _AHEAD)
                    for n in range(size):
                        state_N[n] = decay * state_N[n] + gain * b_N[n]
                        total += state_N[n] * c_N[n]
                    y_P[p] = total
