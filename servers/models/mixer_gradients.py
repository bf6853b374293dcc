"""A Mamba2 mixer's convolution and scan with their gradients, for training on a CPU.

The way there is that of serving (mixer_loops.py), the way back is compiled like it. In matrix
products over chunks (ssd.scan_chunked, for a GPU) most of a training step went into tensors that
are written once and read once.
Shapes: B rows of L tokens, X = I + 2 G N convolved channels, W projected channels, of which the
first X are convolved, K convolution width, I = H heads x P head width, G groups, N state.
"""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness_servers.models.compiled import LANES, Floats, compiled, exp, scan_step, scan_step_back
from harness_servers.models.mixer_loops import convolve, scan


def trained_convolution(projected_BLW: Tensor, weight_KX: Tensor, bias_X: Tensor) -> Tensor:
    """Silu of each channel's causal convolution, from an empty history: (B, L, X)."""
    mixed_BLX = _Convolution.apply(projected_BLW, weight_KX, bias_X)  # type: ignore[no-untyped-call]
    return cast(Tensor, mixed_BLX)


def trained_scan(
    mixed_BLX: Tensor,
    dt_BLH: Tensor,
    a_H: Tensor,
    skip_H: Tensor,
    *,
    num_inner: int,
    num_groups: int,
) -> Tensor:
    """The recurrence of ssd.py, with D, from an empty state: (B, L, I)."""
    y_BLI = _Scan.apply(num_inner, num_groups, mixed_BLX, dt_BLH, a_H, skip_H)  # type: ignore[no-untyped-call]
    return cast(Tensor, y_BLI)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Tensor) -> Tensor:
        given = tuple(tensor.contiguous() for tensor in given)
        ctx.save_for_backward(*given)
        projected_BLW, weight_KX, bias_X = given
        num_rows, length = projected_BLW.shape[:2]
        mixed_BLX = torch.empty(num_rows, length, len(bias_X))
        history_BJX = torch.zeros(num_rows, len(weight_KX) - 1, len(bias_X))
        where = _every_row(num_rows, length)
        tensors = (projected_BLW.flatten(0, 1), weight_KX, bias_X, history_BJX, *where)
        convolve(*_arrays(*tensors, mixed_BLX.flatten(0, 1)))
        return mixed_BLX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        given = ctx.saved_tensors
        found = tuple(torch.zeros_like(tensor) for tensor in given)
        _convolve_back(*_arrays(*given, gradients[0].contiguous(), *found))
        return found


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, num_inner: int, num_groups: int, *given: Tensor) -> Tensor:
        ctx.num_groups = num_groups
        given = tuple(tensor.contiguous() for tensor in given)
        ctx.save_for_backward(*given)
        mixed_BLX, dt_BLH, a_H, skip_H = given
        num_rows, length, num_heads = dt_BLH.shape
        state_size = (mixed_BLX.shape[2] - num_inner) // (2 * num_groups)
        state_BHPN = torch.zeros(num_rows, num_heads, num_inner // num_heads, state_size)
        y_BLI = torch.empty(num_rows, length, num_inner)
        tokens = mixed_BLX.flatten(0, 1), dt_BLH.flatten(0, 1)
        where = _every_row(num_rows, length)
        scan(*_arrays(*tokens, a_H, skip_H, state_BHPN, *where, y_BLI.flatten(0, 1)))
        return y_BLI

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        found = tuple(torch.zeros_like(tensor) for tensor in given)
        arrays = _arrays(*given, gradients[0].contiguous(), *found)
        _scan_back(*arrays, ctx.num_groups)
        return (None, None, *found)


def _every_row(num_rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Slots and lengths."""
    return torch.arange(num_rows), torch.full((num_rows,), length)


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]


@compiled
def _convolve_back(
    projected_BLW: Floats,
    weight_KX: Floats,
    bias_X: Floats,
    gradient_BLX: Floats,
    to_projected_BLW: Floats,
    to_weight_KX: Floats,
    to_bias_X: Floats,
) -> None:
    """Adds to the gradients of what mixer_loops.convolve was given, from those of what it made."""
    num_rows, length = projected_BLW.shape[:2]
    width, num_channels = weight_KX.shape
    one = np.float32(1.0)
    total_X = np.empty(num_channels, np.float32)
    for row in range(num_rows):
        for t in range(length):
            # The token behind which the window of this one begins.
            first = t + 1 - width
            for x in range(num_channels):
                total_X[x] = bias_X[x]
            for k in range(max(0, -first), width):
                weight_X, input_X = weight_KX[k], projected_BLW[row, first + k]
                for x in range(num_channels):
                    total_X[x] += weight_X[x] * input_X[x]
            gradient_X = gradient_BLX[row, t]
            for x in range(num_channels):
                share = one / (one + exp(-total_X[x]))
                total_X[x] = gradient_X[x] * share * (one + total_X[x] * (one - share))
            for x in range(num_channels):
                to_bias_X[x] += total_X[x]
            for k in range(max(0, -first), width):
                weight_X, input_X = weight_KX[k], projected_BLW[row, first + k]
                to_weight_X, to_input_X = to_weight_KX[k], to_projected_BLW[row, first + k]
                for x in range(num_channels):
                    to_weight_X[x] += total_X[x] * input_X[x]
                    to_input_X[x] += total_X[x] * weight_X[x]


@compiled
def _scan_back(
    mixed_BLX: Floats,
    dt_BLH: Floats,
    a_H: Floats,
    skip_H: Floats,
    gradient_BLI: Floats,
    to_mixed_BLX: Floats,
    to_dt_BLH: Floats,
    to_a_H: Floats,
    to_skip_H: Floats,
    num_groups: int,
) -> None:
    """Adds to the gradients of what mixer_loops.scan was given, from those of what it made.

    A row of a head's state depends on no other: its history, made anew, stays in the first caches.
    """
    num_rows, length, num_heads = dt_BLH.shape
    num_inner = gradient_BLI.shape[2]
    width = num_inner // num_heads
    size = (mixed_BLX.shape[2] - num_inner) // (2 * num_groups)
    # Zeros behind make whole vectors of what has another length.
    padded = (size + LANES - 1) // LANES * LANES
    state_LN = np.zeros((length + 1, padded), np.float32)
    b_LN, c_LN = np.zeros((length, padded), np.float32), np.zeros((length, padded), np.float32)
    to_b_LN, to_c_LN = np.empty_like(b_LN), np.empty_like(c_LN)
    to_state_N = np.empty(padded, np.float32)
    decay_L = np.empty(length, np.float32)
    for row in range(num_rows):
        for head in range(num_heads):
            b_start = num_inner + head * num_groups // num_heads * size
            c_start = b_start + num_groups * size
            for t in range(length):
                decay_L[t] = exp(dt_BLH[row, t, head] * a_H[head])
                b_LN[t, :size] = mixed_BLX[row, t, b_start : b_start + size]
                c_LN[t, :size] = mixed_BLX[row, t, c_start : c_start + size]
            to_b_LN[:] = 0
            to_c_LN[:] = 0
            for i in range(head * width, (head + 1) * width):
                for t in range(length):
                    gain = dt_BLH[row, t, head] * mixed_BLX[row, t, i]
                    scan_step(state_LN[t], b_LN[t], state_LN[t + 1], decay_L[t], gain)
                to_state_N[:] = 0
                for t in range(length - 1, -1, -1):
                    dt, decay, x = dt_BLH[row, t, head], decay_L[t], mixed_BLX[row, t, i]
                    to_y, gain = gradient_BLI[row, t, i], dt * x
                    to_gain, to_powers = scan_step_back(
                        state_LN[t + 1],
                        b_LN[t],
                        c_LN[t],
                        to_state_N,
                        to_b_LN[t],
                        to_c_LN[t],
                        to_y,
                        gain,
                        decay,
                    )
                    # Of what the state had from before the token: all but its gain.
                    to_power = to_powers - to_gain * gain
                    to_mixed_BLX[row, t, i] += to_gain * dt + to_y * skip_H[head]
                    to_dt_BLH[row, t, head] += to_gain * x + to_power * a_H[head]
                    to_a_H[head] += to_power * dt
                    to_skip_H[head] += to_y * x
            for t in range(length):
                to_mixed_BLX[row, t, b_start : b_start + size] += to_b_LN[t, :size]
                to_mixed_BLX[row, t, c_start : c_start + size] += to_c_LN[t, :size]
