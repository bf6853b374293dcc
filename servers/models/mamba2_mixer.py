"""The Mamba2 mixer: input projection, causal convolution, state space, gated norm, output.

Parameters are named as in Hugging Face's layouts, which Mamba2 and Bamba share.
Shapes: B sequences, L tokens, D width, I inner width = H heads x P head width, N state, G groups,
X = I + 2 G N convolved channels, K convolution width, J = K - 1 inputs that it remembers,
W = X + H, S slots.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from servers.models import ssd
from servers.models.mixer_loops import convolve, scan
from servers.models.rms_norm import RmsNorm

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Where rows of tokens belong: a slot and a length (at least 1) for each."""

    slots_B: Tensor
    lengths_B: Tensor

    def last(self, values_BL: Tensor) -> Tensor:
        """What stands at each row's last token: (B, ...) of (B, L, ...)."""
        if values_BL.shape[1] == 1:
            return values_BL[:, 0]
        return values_BL[torch.arange(len(self.lengths_B)), self.lengths_B - 1]


class GatedRmsNorm(RmsNorm):
    """RMS norm of x * silu(gate) over the whole inner width."""

    def forward(self, x_I: Tensor, gate_I: Tensor) -> Tensor:  # type: ignore[override]
        """Any leading dimensions."""
        return super().forward(x_I * F.silu(gate_I))


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
        self.norm = GatedRmsNorm(shape.inner_size, eps=shape.norm_epsilon)
        self.out_proj = nn.Linear(shape.inner_size, shape.hidden_size, bias=shape.use_bias)

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """Reads whole rows from empty states, with gradients: (B, L, D)."""
        shape = self.shape
        gate_BLI, rest_BLW = self.in_proj(hidden_BLD).tensor_split([shape.inner_size], -1)
        history_BXL = F.pad(rest_BLW[..., : shape.conv_size].mT, (shape.conv_kernel - 1, 0))
        given = self._split(F.silu(self.conv1d(history_BXL)).mT, self._time_steps(rest_BLW))
        _, empty_BHPN = shape.init_state(len(hidden_BLD), hidden_BLD.device)
        y_BLHP, _ = ssd.scan_chunked(given, empty_BHPN, shape.chunk_size)
        y_BLHP = y_BLHP + self.D[:, None] * given.x_BLHP
        mixed_BLD: Tensor = self.out_proj(self.norm(y_BLHP.flatten(2), gate_BLI))
        return mixed_BLD

    def read(
        self, hidden_BLD: Tensor, conv_SJX: Tensor, state_SHPN: Tensor, rows: Rows, *, to_last: bool
    ) -> Tensor:
        """Reads tokens into both states, which are changed in place; without gradients.

        Returns the output (B, L, D), or `to_last` that after each row's last token alone (B, D),
        which is little more than half the work.
        """
        size = self.shape.inner_size
        rest_BLW = self._project(hidden_BLD, slice(size, None))
        y_I = self._recur(rest_BLW, conv_SJX, state_SHPN, rows)
        hidden_D = hidden_BLD
        if to_last:
            y_I, hidden_D = rows.last(y_I), rows.last(hidden_BLD)
        mixed_D: Tensor = self.out_proj(self.norm(y_I, self._project(hidden_D, slice(size))))
        return mixed_D

    def _recur(self, rest_BLW: Tensor, conv_SJX: Tensor, state_SHPN: Tensor, rows: Rows) -> Tensor:
        """Convolution and scan of all rows: (B, L, I), zero behind their lengths."""
        where = (rows.slots_B.numpy(), rows.lengths_B.numpy())
        weight_XK = self.conv1d.weight.detach()[:, 0]
        bias_X = torch.zeros(len(weight_XK)) if self.conv1d.bias is None else self.conv1d.bias
        mixed_BLX = torch.zeros(*rest_BLW.shape[:2], len(weight_XK))
        convolve(
            rest_BLW.numpy(),
            weight_XK.T.contiguous().numpy(),
            bias_X.detach().numpy(),
            conv_SJX.numpy(),
            *where,
            mixed_BLX.numpy(),
        )
        dt_BLH = self._time_steps(rest_BLW)
        y_BLI = torch.zeros(*rest_BLW.shape[:2], self.shape.inner_size)
        scan(
            F.silu(mixed_BLX, inplace=True).numpy(),
            dt_BLH.numpy(),
            torch.exp(dt_BLH * -torch.exp(self.A_log)).numpy(),
            self.D.detach().numpy(),
            state_SHPN.numpy(),
            *where,
            y_BLI.numpy(),
        )
        return y_BLI

    def _project(self, hidden_D: Tensor, channels: slice) -> Tensor:
        """Some channels of the input projection: first the gate, then what else there is."""
        bias = self.in_proj.bias
        return F.linear(
            hidden_D, self.in_proj.weight[channels], None if bias is None else bias[channels]
        )

    def _time_steps(self, rest_W: Tensor) -> Tensor:
        """From the channels behind those that are convolved."""
        low, high = self.shape.time_step_limit
        dt_H = rest_W[..., self.shape.conv_size :]
        return F.softplus(dt_H + self.dt_bias).clamp(low, high)

    def _split(self, mixed_BLX: Tensor, dt_BLH: Tensor) -> ssd.ScanInput:
        """x by head, B and C by group."""
        shape = self.shape
        sizes = [shape.inner_size, *[shape.num_groups * shape.state_size] * 2]
        x_BLI, b_BLGN, c_BLGN = torch.split(mixed_BLX, sizes, -1)
        by_group = (shape.num_groups, shape.state_size)
        return ssd.ScanInput(
            x_BLHP=torch.unflatten(x_BLI, -1, (shape.num_heads, shape.head_dim)),
            dt_BLH=dt_BLH,
            a_H=-torch.exp(self.A_log),
            b_BLGN=torch.unflatten(b_BLGN, -1, by_group),
            c_BLGN=torch.unflatten(c_BLGN, -1, by_group),
        )


def _initial_dt_bias(num_heads: int) -> Tensor:
    """Time steps between 0.001 and 0.1, evenly in their logarithm, before the softplus."""
    low, high = math.log(0.001), math.log(0.1)
    dt_H = torch.exp(torch.rand(num_heads) * (high - low) + low)
    return dt_H + torch.log(-torch.expm1(-dt_H))
