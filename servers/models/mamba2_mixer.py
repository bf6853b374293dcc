"""The Mamba2 mixer: input projection, causal convolution, state space, gated norm, output.

Parameters are named as in Hugging Face's layouts, which Mamba2 and Bamba share.
Shapes: B sequences, L tokens, T tokens of all sequences one after another, O of them that outputs
are wanted for, D width, I inner width = H heads x P head width, N state, G groups,
X = I + 2 G N convolved channels, K convolution width, J = K - 1 inputs that it remembers,
W = X + H, S slots.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models import ssd
from harness_servers.models.compiled import Floats
from harness_servers.models.gated_norm import GatedRmsNorm
from harness_servers.models.initial_weights import initial_step_bias
from harness_servers.models.mamba2_shape import MixerShape
from harness_servers.models.mixer_gradients import trained_convolution, trained_scan
from harness_servers.models.mixer_loops import convolve, scan, time_steps
from harness_servers.models.packed_linear import PackedLinear
from harness_servers.models.packed_rows import Rows

# What the projected time steps are multiplied by and what is added to them, before their bias: for
# every token, (..., 1) and (..., H).
Adaptation = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Constants:
    """A mixer's weights as its compiled loops and its products take them."""

    weight_KX: Floats
    bias_X: Floats
    dt_bias_H: Floats
    a_H: Floats
    skip_H: Floats
    project_gate: PackedLinear
    project_rest: PackedLinear
    project_out: PackedLinear


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
        self.dt_bias = nn.Parameter(initial_step_bias(shape.num_heads))
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, shape.num_heads + 1)))
        self.D = nn.Parameter(torch.ones(shape.num_heads))
        self.norm = GatedRmsNorm(
            shape.inner_size, eps=shape.norm_epsilon, num_parts=shape.num_normed
        )
        self.out_proj = nn.Linear(shape.inner_size, shape.hidden_size, bias=shape.use_bias)

    def forward(self, hidden_BLD: Tensor, adaptation: Adaptation | None = None) -> Tensor:
        """Reads whole rows from empty states, with gradients: (B, L, D)."""
        shape = self.shape
        gate_BLI, rest_BLW = self.in_proj(hidden_BLD).tensor_split([shape.inner_size], -1)
        if adaptation is not None:
            rest_BLW = self._adapt(rest_BLW, adaptation)
        # Compiled loops are a CPU's, and of float32; a GPU is kept busy by matrix products.
        is_compiled = rest_BLW.device.type == "cpu" and rest_BLW.dtype == torch.float32
        recur = self._recur_by_token if is_compiled else self._recur_in_chunks
        mixed_BLD: Tensor = self.out_proj(self.norm(recur(rest_BLW), gate_BLI))
        return mixed_BLD

    def _recur_by_token(self, rest_BLW: Tensor) -> Tensor:
        conv, shape = self.conv1d, self.shape
        bias_X = torch.zeros(shape.conv_size) if conv.bias is None else conv.bias
        return trained_scan(
            trained_convolution(rest_BLW, conv.weight[:, 0].T, bias_X),
            self._time_steps(rest_BLW),
            -torch.exp(self.A_log),
            self.D,
            num_inner=shape.inner_size,
            num_groups=shape.num_groups,
        )

    def _recur_in_chunks(self, rest_BLW: Tensor) -> Tensor:
        shape = self.shape
        history_BXL = F.pad(rest_BLW[..., : shape.conv_size].mT, (shape.conv_kernel - 1, 0))
        given = self._split(F.silu(self.conv1d(history_BXL)).mT, self._time_steps(rest_BLW))
        _, empty_BHPN = shape.init_state(len(rest_BLW), rest_BLW.device)
        y_BLHP, _ = ssd.scan_chunked(given, empty_BHPN, shape.chunk_size)
        return (y_BLHP + self.D[:, None] * given.x_BLHP).flatten(2)

    def read(
        self,
        hidden_TD: Tensor,
        conv_SJX: Tensor,
        state_SHPN: Tensor,
        rows: Rows,
        *,
        to_last: bool,
        adaptation: Adaptation | None = None,
    ) -> Tensor:
        """Reads packed tokens into both states, which are changed in place; without gradients.

        Returns the output (T, D), or `to_last` that after each row's last token alone (B, D),
        which is little more than half the work.
        """
        constants = self._constants
        rest_TW = constants.project_rest(hidden_TD)
        if adaptation is not None:
            rest_TW = self._adapt(rest_TW, adaptation)
        wanted_OD = rows.last(hidden_TD) if to_last else hidden_TD
        y_OI = torch.empty(len(wanted_OD), self.shape.inner_size)
        self._recur(rest_TW.numpy(), conv_SJX.numpy(), state_SHPN.numpy(), rows, y_OI.numpy())
        return constants.project_out(self.norm(y_OI, constants.project_gate(wanted_OD)))

    def _recur(
        self, rest_TW: Floats, conv_SJX: Floats, state_SHPN: Floats, rows: Rows, y_OI: Floats
    ) -> None:
        """Convolution and scan of all channels but the gate's; fills `y_OI`, see scan."""
        constants, num_tokens = self._constants, len(rest_TW)
        mixed_TX = np.empty((num_tokens, self.shape.conv_size), np.float32)
        dt_TH = np.empty((num_tokens, self.shape.num_heads), np.float32)
        convolve(rest_TW, constants.weight_KX, constants.bias_X, conv_SJX, *rows.arrays, mixed_TX)
        time_steps(rest_TW, constants.dt_bias_H, *self.shape.time_step_limit, dt_TH)
        weights = constants.a_H, constants.skip_H
        scan(mixed_TX, dt_TH, *weights, state_SHPN, *rows.arrays, y_OI)

    @cached_property
    def _constants(self) -> _Constants:
        """Made at the first read: the weights are not to be changed after it."""
        weight_XK, bias_X = self.conv1d.weight.detach()[:, 0], self.conv1d.bias
        return _Constants(
            weight_KX=weight_XK.T.contiguous().numpy(),
            bias_X=(torch.zeros(len(weight_XK)) if bias_X is None else bias_X.detach()).numpy(),
            dt_bias_H=self.dt_bias.detach().numpy(),
            a_H=-torch.exp(self.A_log.detach()).numpy(),
            skip_H=self.D.detach().numpy(),
            project_gate=self._packed(slice(self.shape.inner_size)),
            project_rest=self._packed(slice(self.shape.inner_size, None)),
            project_out=PackedLinear(self.out_proj.weight, self.out_proj.bias),
        )

    def _packed(self, channels: slice) -> PackedLinear:
        """Some channels of the input projection: first the gate, then what else there is."""
        weight, bias = self.in_proj.weight, self.in_proj.bias
        return PackedLinear(weight[channels], None if bias is None else bias[channels])

    def _adapt(self, rest_W: Tensor, adaptation: Adaptation) -> Tensor:
        """The same channels, with other time steps."""
        scale_1, shift_H = adaptation
        convolved_X, dt_H = rest_W.tensor_split([self.shape.conv_size], -1)
        return torch.cat([convolved_X, dt_H * scale_1 + shift_H], -1)

    def _time_steps(self, rest_W: Tensor) -> Tensor:
        """From the channels behind those that are convolved."""
        low, high = self.shape.time_step_limit
        dt_H = rest_W[..., self.shape.conv_size :]
        dt_H = F.softplus(dt_H + self.dt_bias)
        # No softplus is outside the usual limits.
        return dt_H if (low, high) == (0.0, math.inf) else dt_H.clamp(low, high)

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
