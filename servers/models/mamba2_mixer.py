"""The Mamba2 mixer: input projection, causal convolution, state space, gated norm, output.

Parameters are named as in Hugging Face's layouts, which Mamba2 and Bamba share.
Shapes: B sequences, L tokens, D width, I inner width = H heads x P head width, N state, G groups,
X = I + 2 G N convolved channels, K convolution width, J = K - 1 inputs that it remembers, S slots.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from servers.models import ssd
from servers.models.slot_runs import Runs

# As in transformers: wide enough for tied embeddings to tell words apart from the start.
INITIAL_EMBEDDING_STD: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class MixerShape:
    """The sizes of one mixer."""

    hidden_size: int
    inner_size: int
    num_heads: int
    state_size: int
    num_groups: int
    conv_kernel: int
    chunk_size: int
    norm_epsilon: float
    use_bias: bool = False
    use_conv_bias: bool = True
    time_step_limit: tuple[float, float] = (0.0, math.inf)

    @property
    def head_dim(self) -> int:
        """P."""
        return self.inner_size // self.num_heads

    @property
    def conv_size(self) -> int:
        """X."""
        return self.inner_size + 2 * self.num_groups * self.state_size

    def init_state(self, num_rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The convolution's last inputs (B, J, X) and the scan's state (B, H, P, N), zero.

        The state is float32: what a rounder format loses at a token is lost for all that follow.
        """
        conv = (num_rows, self.conv_kernel - 1, self.conv_size)
        scan = (num_rows, self.num_heads, self.head_dim, self.state_size)
        return (
            torch.zeros(conv, dtype=torch.float32, device=device),
            torch.zeros(scan, dtype=torch.float32, device=device),
        )


class GatedRmsNorm(nn.Module):
    """RMS norm of x * silu(gate) over the whole inner width."""

    def __init__(self, size: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x_I: Tensor, gate_I: Tensor) -> Tensor:
        """Any leading dimensions."""
        return F.rms_norm(x_I * F.silu(gate_I), self.weight.shape, self.weight, self.epsilon)


class Mamba2Mixer(nn.Module):
    """Dao and Gu, arXiv 2405.21060, section 7, as transformers' Mamba2Mixer computes it."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.inner_size + shape.conv_size + shape.num_heads
        self.in_proj = nn.Linear(shape.hidden_size, width, bias=shape.use_bias)
        self.conv1d = nn.Conv1d(
            shape.conv_size,
            shape.conv_size,
            shape.conv_kernel,
            groups=shape.conv_size,
            bias=shape.use_conv_bias,
        )
        self.dt_bias = nn.Parameter(_initial_dt_bias(shape.num_heads))
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, shape.num_heads + 1)))
        self.D = nn.Parameter(torch.ones(shape.num_heads))
        self.norm = GatedRmsNorm(shape.inner_size, shape.norm_epsilon)
        self.out_proj = nn.Linear(shape.inner_size, shape.hidden_size, bias=shape.use_bias)

    def forward(
        self, hidden_BLD: Tensor, is_real_BL: Tensor | None, conv_BJX: Tensor, state_BHPN: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reads L tokens after the given states; returns output, convolution and scan state.

        `conv_BJX` holds the last inputs of the convolution. Rows are padded on the right: where
        `is_real_BL` is False nothing is read into the states.
        """
        gate_BLI, mixed_BLX, dt_BLH = self._project(hidden_BLD)
        history_BXL = torch.cat([conv_BJX.transpose(1, 2), mixed_BLX.transpose(1, 2)], -1)
        conv_BJX = self._last_inputs(history_BXL, is_real_BL)
        mixed_BXL = F.conv1d(
            history_BXL, self.conv1d.weight, self.conv1d.bias, groups=self.shape.conv_size
        )
        if is_real_BL is not None:
            dt_BLH = dt_BLH * is_real_BL[..., None]
        given = self._split(F.silu(mixed_BXL).transpose(1, 2), dt_BLH)
        y_BLHP, state_BHPN = ssd.scan_chunked(given, state_BHPN, self.shape.chunk_size)
        y_BLHP = y_BLHP + self.D[:, None] * given.x_BLHP
        return self._finish(y_BLHP.flatten(2), gate_BLI), conv_BJX, state_BHPN

    def step(self, hidden_BD: Tensor, conv_SJX: Tensor, state_SHPN: Tensor, runs: Runs) -> Tensor:
        """Reads one token a row; both states are changed in place at the slots of `runs`."""
        gate_BI, mixed_BX, dt_BH = self._project(hidden_BD)
        mixed_BX = self._convolve(mixed_BX, conv_SJX, runs)
        given = self._split(F.silu(mixed_BX), dt_BH)
        y_BHP = ssd.step(given, state_SHPN, runs) + self.D[:, None] * given.x_BLHP
        return self._finish(y_BHP.flatten(1), gate_BI)

    def _convolve(self, mixed_BX: Tensor, conv_SJX: Tensor, runs: Runs) -> Tensor:
        # As it lies in memory each product would read across it.
        weight_KX = self.conv1d.weight[:, 0].T.contiguous()
        outputs = []
        for rows, slots in runs:
            window_BKX = torch.cat([conv_SJX[slots], mixed_BX[rows, None]], 1)
            conv_SJX[slots] = window_BKX[:, 1:]
            outputs.append(window_BKX.mul_(weight_KX).sum(1))
        mixed_BX = torch.cat(outputs)
        return mixed_BX if self.conv1d.bias is None else mixed_BX + self.conv1d.bias

    def _finish(self, y_I: Tensor, gate_I: Tensor) -> Tensor:
        mixed_D: Tensor = self.out_proj(self.norm(y_I, gate_I))
        return mixed_D

    def _project(self, hidden_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate, inputs of the convolution, and time steps, any leading dimensions."""
        shape = self.shape
        gate_I, mixed_X, dt_H = self.in_proj(hidden_D).split(
            [shape.inner_size, shape.conv_size, shape.num_heads], -1
        )
        low, high = shape.time_step_limit
        return gate_I, mixed_X, F.softplus(dt_H + self.dt_bias).clamp(low, high)

    def _split(self, mixed_X: Tensor, dt_H: Tensor) -> ssd.ScanInput:
        """x by head, B and C by group, any leading dimensions."""
        shape = self.shape
        sizes = [shape.inner_size, *[shape.num_groups * shape.state_size] * 2]
        x_I, b_GN, c_GN = torch.split(mixed_X, sizes, -1)
        by_group = (shape.num_groups, shape.state_size)
        return ssd.ScanInput(
            x_BLHP=torch.unflatten(x_I, -1, (shape.num_heads, shape.head_dim)),
            dt_BLH=dt_H,
            a_H=-torch.exp(self.A_log),
            b_BLGN=torch.unflatten(b_GN, -1, by_group),
            c_BLGN=torch.unflatten(c_GN, -1, by_group),
        )

    def _last_inputs(self, history_BXL: Tensor, is_real_BL: Tensor | None) -> Tensor:
        """The last J inputs before each row's padding."""
        num_kept = self.shape.conv_kernel - 1
        if is_real_BL is None:
            return history_BXL[..., history_BXL.shape[-1] - num_kept :].transpose(1, 2)
        offsets_J = torch.arange(num_kept, device=history_BXL.device)
        columns_BJ = is_real_BL.sum(1)[:, None] + offsets_J
        where_BXJ = columns_BJ[:, None].expand(-1, history_BXL.shape[1], -1)
        return history_BXL.gather(2, where_BXJ).transpose(1, 2)


def _initial_dt_bias(num_heads: int) -> Tensor:
    """Time steps between 0.001 and 0.1, evenly in their logarithm, before the softplus."""
    low, high = math.log(0.001), math.log(0.1)
    dt_H = torch.exp(torch.rand(num_heads) * (high - low) + low)
    return dt_H + torch.log(-torch.expm1(-dt_H))
