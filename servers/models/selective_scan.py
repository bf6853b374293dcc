"""Mamba's recurrence with a decay for each number of its state, and its gradients.

    state[t] = exp(dt[t] A) state[t-1] + dt[t] x[t] B[t]          y[t] = C[t] . state[t]

Source: Gu and Dao, "Mamba", arXiv 2312.00752, section 3; that the states are made anew on the way
back is from its section 3.3.2. On a CPU both ways are compiled: a channel's history stays in the
first caches, where torch writes the states of all channels, and reads them again, many times.
Shapes: B rows, L tokens, I channels, N state.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness_servers.models.compiled import Floats, Integers, compiled, exp
from harness_servers.models.diagonal_scan import scan_diagonal


def selective_scan(
    x_BLI: Tensor,
    dt_BLI: Tensor,
    a_IN: Tensor,
    b_BLN: Tensor,
    c_BLN: Tensor,
    state_BIN: Tensor,
    lengths_B: Tensor,
) -> tuple[Tensor, Tensor]:
    """Outputs (B, L, I), and the state (B, I, N) after each row's last token; A is negative.

    Rows begin with `state_BIN` and have `lengths_B` tokens, at least one: what is put out behind
    them means nothing.
    """
    given = (x_BLI, dt_BLI, a_IN, b_BLN, c_BLN, state_BIN)
    if x_BLI.device.type == "cpu" and x_BLI.dtype == torch.float32:
        found: tuple[Tensor, Tensor] = _SelectiveScan.apply(lengths_B, *given)  # type: ignore[no-untyped-call]
        return found
    decay_BLIN = torch.exp(dt_BLI[..., None] * a_IN)
    gain_BLIN = (dt_BLI * x_BLI)[..., None] * b_BLN[..., None, :]
    state_BLIN = scan_diagonal(decay_BLIN, gain_BLIN, state_BIN)
    last_BIN = state_BLIN[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]
    return (state_BLIN @ c_BLN[..., None])[..., 0], last_BIN


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, lengths_B: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        given = tuple(tensor.contiguous() for tensor in given)
        ctx.save_for_backward(lengths_B, *given)
        y_BLI, last_BIN = torch.zeros_like(given[0]), torch.empty_like(given[-1])
        _scan(*_arrays(lengths_B, *given, y_BLI, last_BIN))
        return y_BLI, last_BIN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        lengths_B, *given = ctx.saved_tensors
        found = tuple(torch.zeros_like(tensor) for tensor in given)
        to_made = (gradient.contiguous() for gradient in gradients)
        _scan_back(*_arrays(lengths_B, *given, *to_made, *found))
        return (None, *found)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


@compiled
def _scan(
    lengths_B: Integers,
    x_BLI: Floats,
    dt_BLI: Floats,
    a_IN: Floats,
    b_BLN: Floats,
    c_BLN: Floats,
    state_BIN: Floats,
    y_BLI: Floats,
    last_BIN: Floats,
) -> None:
    num_rows, _, num_channels = x_BLI.shape
    size = a_IN.shape[1]
    for row in range(num_rows):
        for i in range(num_channels):
            state_N, a_N = last_BIN[row, i], a_IN[i]
            for n in range(size):
                state_N[n] = state_BIN[row, i, n]
            for t in range(lengths_B[row]):
                dt, b_N, c_N = dt_BLI[row, t, i], b_BLN[row, t], c_BLN[row, t]
                gain = dt * x_BLI[row, t, i]
                y = np.float32(0.0)
                for n in range(size):
                    state_N[n] = exp(dt * a_N[n]) * state_N[n] + gain * b_N[n]
                    y += state_N[n] * c_N[n]
                y_BLI[row, t, i] = y


@compiled
def _scan_back(
    lengths_B: Integers,
    x_BLI: Floats,
    dt_BLI: Floats,
    a_IN: Floats,
    b_BLN: Floats,
    c_BLN: Floats,
    state_BIN: Floats,
    to_y_BLI: Floats,
    to_last_BIN: Floats,
    to_x_BLI: Floats,
    to_dt_BLI: Floats,
    to_a_IN: Floats,
    to_b_BLN: Floats,
    to_c_BLN: Floats,
    to_state_BIN: Floats,
) -> None:
    """Adds to the gradients of what _scan was given, from those of what it made."""
    num_rows, length, num_channels = x_BLI.shape
    size = a_IN.shape[1]
    state_LN = np.empty((length + 1, size), np.float32)
    decay_LN = np.empty((length, size), np.float32)
    for row in range(num_rows):
        for i in range(num_channels):
            a_N, to_a_N = a_IN[i], to_a_IN[i]
            state_LN[0] = state_BIN[row, i]
            for t in range(lengths_B[row]):
                dt, b_N = dt_BLI[row, t, i], b_BLN[row, t]
                gain = dt * x_BLI[row, t, i]
                before_N, after_N, decay_N = state_LN[t], state_LN[t + 1], decay_LN[t]
                for n in range(size):
                    decay_N[n] = exp(dt * a_N[n])
                    after_N[n] = decay_N[n] * before_N[n] + gain * b_N[n]
            to_state_N = to_state_BIN[row, i]
            for n in range(size):
                to_state_N[n] = to_last_BIN[row, i, n]
            for t in range(lengths_B[row] - 1, -1, -1):
                dt, x, to_y = dt_BLI[row, t, i], x_BLI[row, t, i], to_y_BLI[row, t, i]
                b_N, c_N, decay_N = b_BLN[row, t], c_BLN[row, t], decay_LN[t]
                before_N, after_N = state_LN[t], state_LN[t + 1]
                to_b_N, to_c_N = to_b_BLN[row, t], to_c_BLN[row, t]
                gain = dt * x
                to_gain = to_dt = np.float32(0.0)
                for n in range(size):
                    to_after = to_state_N[n] + to_y * c_N[n]
                    to_c_N[n] += to_y * after_N[n]
                    to_b_N[n] += to_after * gain
                    to_gain += to_after * b_N[n]
                    to_state_N[n] = to_after * decay_N[n]
                    to_power = to_state_N[n] * before_N[n]
                    to_a_N[n] += to_power * dt
                    to_dt += to_power * a_N[n]
                to_x_BLI[row, t, i] = to_gain * dt
                to_dt_BLI[row, t, i] = to_dt + to_gain * x
