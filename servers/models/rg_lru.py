"""The real-gated linear recurrent unit and the block around it, which Hawk and Griffin have.

    r[t] = sigmoid(W_r x[t] + b_r)       i[t] = sigmoid(W_i x[t] + b_i)
    a[t] = exp(-8 softplus(p) r[t])      h[t] = a[t] h[t-1] + sqrt(1 - a[t]^2) i[t] x[t]

with p a parameter of each channel, and W_r and W_i of square blocks along the diagonal. Source: De
et al., "Griffin", arXiv 2402.19427, sections 2.3 and 2.4. Where the paper lets the first token too
be scaled by the root, the published models read it whole, and so it is here.
Shapes: B sequences, L tokens, D width, I inner width, H blocks, K width of a block, J inputs that
the convolution remembers.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.causal_convolution import convolve_more, convolve_token
from harness_servers.models.diagonal_scan import scan_diagonal
from harness_servers.models.token_mixer import RowState, TokenMixer

_STRENGTH: Final = 8.0
# Below it the root's slope, which is without bound at 0, would be all that is learnt from.
_LEAST_SQUARE: Final = 2.5e-7


class RgLru(nn.Module):
    """The gates of the unit; who holds its state is the block."""

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        size = width // num_blocks
        self.recurrent_param = nn.Parameter(torch.empty(width))
        self.input_gate_weight = nn.Parameter(torch.empty(num_blocks, size, size))
        self.input_gate_bias = nn.Parameter(torch.zeros(num_blocks, size))
        self.recurrent_gate_weight = nn.Parameter(torch.empty(num_blocks, size, size))
        self.recurrent_gate_bias = nn.Parameter(torch.zeros(num_blocks, size))
        self._initialise()

    def forward(self, x_I: Tensor, is_first: Tensor) -> tuple[Tensor, Tensor]:
        """Of tokens (..., I), the first ones of their sequences (...): decay and gain (..., I)."""
        input_I = _gate(x_I, self.input_gate_weight, self.input_gate_bias)
        recurrence_I = _gate(x_I, self.recurrent_gate_weight, self.recurrent_gate_bias)
        log_decay_I = -_STRENGTH * F.softplus(self.recurrent_param) * recurrence_I
        scale_I = (-torch.expm1(2 * log_decay_I)).clamp_min(_LEAST_SQUARE).sqrt()
        scale_I = torch.where(is_first[..., None], 1.0, scale_I)
        return torch.exp(log_decay_I), scale_I * input_I * x_I

    @torch.no_grad()
    def _initialise(self) -> None:
        """Decays with open gates of 0.9 to 0.999 to the power of 8; gates that are half open."""
        base_I = torch.empty_like(self.recurrent_param).uniform_(0.9**2, 0.999**2).sqrt()
        self.recurrent_param.copy_(torch.log(torch.expm1(-torch.log(base_I))))
        std = self.input_gate_weight.shape[1] ** -0.5
        for weight_HKK in (self.input_gate_weight, self.recurrent_gate_weight):
            weight_HKK.normal_(std=std)


class RecurrentBlock(TokenMixer):
    """A convolution and the unit on one branch, a gate on the other."""

    def __init__(self, hidden_size: int, width: int, num_blocks: int, conv_width: int) -> None:
        super().__init__()
        self.linear_y = nn.Linear(hidden_size, width)
        self.linear_x = nn.Linear(hidden_size, width)
        self.linear_out = nn.Linear(width, hidden_size)
        self.conv_1d = nn.Conv1d(width, width, conv_width, groups=width)
        self.rg_lru = RgLru(width, num_blocks)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The convolution's last inputs (B, J, I), the unit's state (B, I), and 1 for a row that
        has read something (B).
        """
        width, conv_width = self.conv_1d.out_channels, self.conv_1d.kernel_size[0]
        return {
            "conv": torch.zeros(num_rows, conv_width - 1, width, device=device),
            "lru": torch.zeros(num_rows, width, device=device),
            "has_begun": torch.zeros(num_rows, device=device),
        }

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        num_rows, length, _ = hidden_BLD.shape
        state = self.init_state(num_rows, hidden_BLD.device)
        lengths_B = torch.full((num_rows,), length, device=hidden_BLD.device)
        return self.read(hidden_BLD, lengths_B, state)[0]

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        x_BI, conv_BJI = convolve_token(self.conv_1d, self.linear_x(hidden_BD), state["conv"])
        decay_BI, gain_BI = self.rg_lru(x_BI, state["has_begun"] == 0)
        lru_BI = decay_BI * state["lru"] + gain_BI
        has_begun_B = torch.ones_like(state["has_begun"])
        output_BD = self._finish(lru_BI, hidden_BD)
        return output_BD, {"conv": conv_BJI, "lru": lru_BI, "has_begun": has_begun_B}

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        x_BLI, conv_BJI = convolve_more(
            self.conv_1d.weight,
            self.linear_x(hidden_BLD),
            state["conv"],
            lengths_B,
            bias_X=self.conv_1d.bias,
        )
        places_L = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
        is_first_BL = (state["has_begun"][:, None] == 0) & (places_L == 0)
        decay_BLI, gain_BLI = self.rg_lru(x_BLI, is_first_BL)
        lru_BLI = scan_diagonal(decay_BLI, gain_BLI, state["lru"])
        lasting = {
            "conv": conv_BJI,
            "lru": lru_BLI[torch.arange(len(lengths_B)), lengths_B - 1],
            "has_begun": torch.ones_like(state["has_begun"]),
        }
        return self._finish(lru_BLI, hidden_BLD), lasting

    def _finish(self, lru_I: Tensor, hidden_D: Tensor) -> Tensor:
        gate_I = F.gelu(self.linear_y(hidden_D), approximate="tanh")
        output_D: Tensor = self.linear_out(lru_I * gate_I)
        return output_D


def _gate(x_I: Tensor, weight_HKK: Tensor, bias_HK: Tensor) -> Tensor:
    x_HK = x_I.view(*x_I.shape[:-1], *bias_HK.shape)
    product_HK = torch.einsum("...hk,hkj->...hj", x_HK, weight_HKK)
    return torch.sigmoid(product_HK + bias_HK).flatten(-2)
