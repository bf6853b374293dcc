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

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Reads whole rows from empty states, with gradients: (B, L, D)."""
        gate_BLI, mixed_BLX, dt_BLH = self._project(hidden_BLD)
        history_BXL = F.pad(mixed_BLX.transpose(1, 2), (self.shape.conv_kernel - 1, 0))
        given = self._split(F.silu(self.conv1d(history_BXL)).transpose(1, 2), dt_BLH)
        _, empty_BHPN = self.shape.init_state(len(hidden_BLD), hidden_BLD.device)
        y_BLHP, _ = ssd.scan_chunked(given, empty_BHPN, self.shape.chunk_size)
        return self._finish(y_BLHP, given, gate_BLI)

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, conv_BJX: Tensor, state_BHPN: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reads the first `lengths_B[b]` tokens of each row after the given states.

        Returns the output (B, L, D), the convolution's last inputs and the scan's state.
        """
        gate_BLI, mixed_BLX, dt_BLH = self._project(hidden_BLD)
        given, conv_BJX = self._convolve_rows(mixed_BLX, dt_BLH, lengths_B, conv_BJX)
        y_BLHP, state_BHPN = ssd.scan_chunked(given, state_BHPN, self.shape.chunk_size)
        return self._finish(y_BLHP, given, gate_BLI), conv_BJX, state_BHPN

    def read_to_last(
        self, hidden_BLD: Tensor, lengths_B: Tensor, conv_BJX: Tensor, state_BHPN: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `read`, but the output after each row's last token alone, (B, D): half the work."""
        last = (torch.arange(len(lengths_B), device=hidden_BLD.device), lengths_B - 1)
        gate_weight, weight = self.in_proj.weight.tensor_split([self.shape.inner_size])
        gate_bias, bias = None, None
        if self.in_proj.bias is not None:
            gate_bias, bias = self.in_proj.bias.tensor_split([self.shape.inner_size])
        gate_BI = F.linear(hidden_BLD[last], gate_weight, gate_bias)
        mixed_BLX, dt_BLH = self._divide(F.linear(hidden_BLD, weight, bias))
        given, conv_BJX = self._convolve_rows(mixed_BLX, dt_BLH, lengths_B, conv_BJX)
        state_BHPN = ssd.scan_to_end(given, state_BHPN, self.shape.chunk_size)
        given = given.at(last)
        y_BHP = ssd.observe(given.c_BLGN, state_BHPN)
        return self._finish(y_BHP, given, gate_BI), conv_BJX, state_BHPN

    def step(self, hidden_BD: Tensor, conv_SJX: Tensor, state_SHPN: Tensor, runs: Runs) -> Tensor:
        """Reads one token a row; both states are changed in place at the slots of `runs`."""
        gate_BI, mixed_BX, dt_BH = self._project(hidden_BD)
        given = self._split(F.silu(self._convolve(mixed_BX, conv_SJX, runs)), dt_BH)
        return self._finish(ssd.step(given, state_SHPN, runs), given, gate_BI)

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

    def _convolve_rows(
        self, mixed_BLX: Tensor, dt_BLH: Tensor, lengths_B: Tensor, conv_BJX: Tensor
    ) -> tuple[ssd.ScanInput, Tensor]:
        """What the scan is given, with dt = 0 behind a row's length, and the inputs to keep."""
        history_BLX = torch.cat([conv_BJX, mixed_BLX], 1)
        # With channels last it is twice as fast as `conv1d`; its gradient would be slower.
        mixed_BX1L = F.conv2d(
            history_BLX.transpose(1, 2)[:, :, None],
            self.conv1d.weight[:, :, None],
            self.conv1d.bias,
            groups=self.shape.conv_size,
        )
        places_L = torch.arange(mixed_BLX.shape[1], device=mixed_BLX.device)
        dt_BLH = dt_BLH * (places_L < lengths_B[:, None])[..., None]
        kept_BJ = lengths_B[:, None] + torch.arange(conv_BJX.shape[1], device=mixed_BLX.device)
        rows_B1 = torch.arange(len(lengths_B), device=mixed_BLX.device)[:, None]
        given = self._split(F.silu(mixed_BX1L)[:, :, 0].transpose(1, 2), dt_BLH)
        return given, history_BLX[rows_B1, kept_BJ]

    def _finish(self, y_HP: Tensor, given: ssd.ScanInput, gate_I: Tensor) -> Tensor:
        """Skip, gated norm and output projection, any leading dimensions."""
        y_HP = torch.addcmul(y_HP, self.D[:, None], given.x_BLHP)
        mixed_D: Tensor = self.out_proj(self.norm(y_HP.flatten(-2), gate_I))
        return mixed_D

    def _project(self, hidden_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate, inputs of the convolution, and time steps, any leading dimensions."""
        size = self.shape.inner_size
        gate_I, rest = self.in_proj(hidden_D).tensor_split([size], -1)
        return gate_I, *self._divide(rest)

    def _divide(self, rest: Tensor) -> tuple[Tensor, Tensor]:
        """What the projection makes beside the gate: inputs of the convolution, time steps."""
        mixed_X, dt_H = rest.tensor_split([self.shape.conv_size], -1)
        low, high = self.shape.time_step_limit
        return mixed_X, F.softplus(dt_H + self.dt_bias).clamp(low, high)

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


def _initial_dt_bias(num_heads: int) -> Tensor:
    """Time steps between 0.001 and 0.1, evenly in their logarithm, before the softplus."""
    low, high = math.log(0.001), math.log(0.1)
    dt_H = torch.exp(torch.rand(num_heads) * (high - low) + low)
    return dt_H + torch.log(-torch.expm1(-dt_H))
