"""What a layer of RWKV-7 consists of: time mixing and channel mixing, each with a token shift.

Parameters are named as in flash-linear-attention's `rwkv7`, and begin as the authors' own code has
them: both mixers' outputs at zero, decays and shares of the last token spread over the channels.
Source: Peng et al., arXiv 2503.14456, its time mixing and its MLP.
Beside the residual stream the layers pass on what the first layer's values were; so what a mixer is
given, and what it adds, is W = D + E wide.
Shapes: B sequences, L tokens, D width, E = H heads x V values, K keys.
"""

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.chunked_mixer import ChunkedMixer, is_read
from harness_servers.models.generalized_delta_rule import (
    GeneralizedDeltaInputs,
    delta_rows,
    delta_step,
)
from harness_servers.models.rwkv7_config import RwkvShape
from harness_servers.models.token_mixer import RowState

# A key keeps at least exp of this at every token.
_LOWEST_LOG_DECAY: Final = -math.exp(-0.5)
_SMALLEST_LENGTH: Final = 1e-12
# Of what each projection's input is shifted by, in the exponent of the share at the start.
_SHIFTS: Final = {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}


class _LowRank(nn.Module):
    """Two projections with few channels between them; the first is zero at the start."""

    def __init__(
        self, size: int, rank: int, num_outputs: int, activation: nn.Module, *, bias: bool = True
    ) -> None:
        super().__init__()
        first, second = nn.Linear(size, rank, bias=False), nn.Linear(rank, num_outputs, bias=bias)
        self.lora = nn.Sequential(first, activation, second)
        nn.init.zeros_(first.weight)
        nn.init.orthogonal_(second.weight, gain=0.1 * max(1.0, math.sqrt(rank / num_outputs)))

    def forward(self, x_D: Tensor) -> Tensor:
        projected: Tensor = self.lora(x_D)
        return projected

    def begin_at(self, outputs: Tensor) -> None:
        """Whatever it is given, until the first projection is trained."""
        self.get_parameter("lora.2.bias").copy_(outputs)


class TimeMix(ChunkedMixer):
    """The generalised delta rule between its projections."""

    def __init__(self, shape: RwkvShape) -> None:
        super().__init__()
        self.shape = shape
        size, width, ranks = shape.hidden_size, shape.value_width, shape.ranks
        for letter, power in _SHIFTS.items():
            share_D = 1 - _ramp(size) ** (power * shape.remaining)
            self.register_parameter(f"x_{letter}", nn.Parameter(share_D.view(1, 1, size)))
        self.k_k = nn.Parameter(0.71 - 0.1 * _line(size))
        self.k_a = nn.Parameter(torch.full((size,), 1.02))
        self.r_k = nn.Parameter(torch.full((shape.num_heads, shape.key_size), -0.04))
        self.r_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, width, bias=False)
        self.o_proj = nn.Linear(width, size, bias=False)
        self.w_lora = _LowRank(size, ranks["w"], size, nn.Tanh())
        if shape.index > 0:
            self.v_lora = _LowRank(size, ranks["v"], width, nn.Identity())
        self.a_lora = _LowRank(size, ranks["a"], size, nn.Identity())
        self.g_lora = _LowRank(size, ranks["g"], width, nn.Sigmoid(), bias=False)
        epsilon = shape.key_size * shape.norm_epsilon
        self.g_norm = nn.GroupNorm(shape.num_heads, width, eps=epsilon)
        self._initialise()

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The delta rule's state (B, H, K, V) and the last token's input (B, D)."""
        shape = self.shape
        delta = (num_rows, shape.num_heads, shape.key_size, shape.value_width // shape.num_heads)
        shift = (num_rows, shape.hidden_size)
        return {
            "delta": torch.zeros(delta, device=device),
            "shift": torch.zeros(shift, device=device),
        }

    def step(self, hidden_BW: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        x_BD, first_BE = self._split(hidden_BW)
        given, gate_BE = self._inputs(x_BD, state["shift"], first_BE)
        read_BHV, delta = delta_step(given, state["delta"])
        return self._finish(read_BHV, given, gate_BE), {"delta": delta, "shift": x_BD}

    def read(
        self, hidden_BLW: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        x_BLD, first_BLE = self._split(hidden_BLW)
        before_BLD, shift = _shifted(x_BLD, state["shift"], lengths_B)
        given, gate_BLE = self._inputs(x_BLD, before_BLD, first_BLE)
        is_read_BL11 = is_read(x_BLD, lengths_B)[..., None, None]
        given = replace(
            given,
            key_BHK=given.key_BHK * is_read_BL11,
            log_decay_BHK=given.log_decay_BHK * is_read_BL11,
            strength_BHK=given.strength_BHK * is_read_BL11,
        )
        read_BLHV, delta = delta_rows(given, state["delta"])
        return self._finish(read_BLHV, given, gate_BLE), {"delta": delta, "shift": shift}

    def _split(self, hidden_W: Tensor) -> tuple[Tensor, Tensor]:
        size = self.shape.hidden_size
        return hidden_W[..., :size], hidden_W[..., size:]

    def _inputs(
        self, x_D: Tensor, before_D: Tensor, first_E: Tensor
    ) -> tuple[GeneralizedDeltaInputs, Tensor]:
        """Of tokens (..., D) and those before them: what the rule is given, and the gate (E)."""
        shares_D = torch.cat([getattr(self, f"x_{letter}") for letter in _SHIFTS])
        shares_D = shares_D.view(-1, *[1] * (x_D.dim() - 1), x_D.shape[-1])
        r_D, w_D, k_D, v_D, a_D, g_D = torch.addcmul(x_D, before_D - x_D, shares_D).unbind()
        log_decay_D = _LOWEST_LOG_DECAY * torch.sigmoid(self.w_lora(w_D))
        strength_D = torch.sigmoid(self.a_lora(a_D))
        value_E = self.v_proj(v_D)
        if self.shape.index > 0:
            value_E = torch.lerp(value_E, first_E, torch.sigmoid(self.v_lora(v_D)))
        key_D = self.k_proj(k_D)
        erased_HK = F.normalize(self._heads(key_D * self.k_k), dim=-1, eps=_SMALLEST_LENGTH)
        key_D = key_D * (1 + (strength_D - 1) * self.k_a)
        given = GeneralizedDeltaInputs(
            query_BHK=self._heads(self.r_proj(r_D)),
            key_BHK=self._heads(key_D),
            value_BHV=self._heads(value_E),
            log_decay_BHK=self._heads(log_decay_D),
            erased_BHK=erased_HK,
            strength_BHK=self._heads(strength_D),
        )
        return given, self.g_lora(g_D)

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.shape.num_heads, -1))

    def _finish(self, read_HV: Tensor, given: GeneralizedDeltaInputs, gate_E: Tensor) -> Tensor:
        """The current token is read once more, past the state; then what the layer adds (W)."""
        normed_TE = self.g_norm(read_HV.reshape(-1, self.shape.value_width))
        bonus_H1 = (given.query_BHK * given.key_BHK * self.r_k).sum(-1, keepdim=True)
        read_E = normed_TE.view(gate_E.shape) + (bonus_H1 * given.value_BHV).flatten(-2)
        value_E = given.value_BHV.flatten(-2)
        first_E = value_E if self.shape.index == 0 else torch.zeros_like(value_E)
        return torch.cat([self.o_proj(read_E * gate_E), first_E], -1)

    @torch.no_grad()
    def _initialise(self) -> None:
        shape = self.shape
        line_D = _line(shape.hidden_size)
        half = max((shape.key_size - 1) / 2, 0.5)
        within_D = (torch.arange(shape.key_size) / half - 1).repeat(shape.num_heads)
        within_D = within_D * within_D.abs()
        bend = 1 + shape.depth**0.3
        self.w_lora.begin_at(-5.5 + 6 * (line_D + 0.5) ** bend + 2.5 * within_D)
        self.a_lora.begin_at(-0.19 + 0.3 * within_D + 0.4 * line_D)
        if shape.index > 0:
            self.v_lora.begin_at(0.73 - 0.4 * _line(shape.value_width))
        self.g_norm.weight.fill_(((shape.index + 1) / shape.num_layers) ** 0.7)
        for projection, gain in ((self.r_proj, 1.0), (self.k_proj, 0.1), (self.v_proj, 1.0)):
            nn.init.orthogonal_(projection.weight, gain=gain)
        nn.init.zeros_(self.o_proj.weight)


class ChannelMix(ChunkedMixer):
    """A feed-forward part that sees the last token too."""

    def __init__(self, shape: RwkvShape) -> None:
        super().__init__()
        self.shape = shape
        self.x_k = nn.Parameter(1 - _ramp(shape.hidden_size) ** (shape.remaining**4))
        self.key = nn.Linear(shape.hidden_size, shape.inner_size, bias=False)
        self.value = nn.Linear(shape.inner_size, shape.hidden_size, bias=False)
        nn.init.orthogonal_(self.key.weight)
        nn.init.zeros_(self.value.weight)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The last token's input (B, D)."""
        return {"channel_shift": torch.zeros(num_rows, self.shape.hidden_size, device=device)}

    def step(self, hidden_BW: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        x_BD = hidden_BW[..., : self.shape.hidden_size]
        return self._mix(x_BD, state["channel_shift"]), {"channel_shift": x_BD}

    def read(
        self, hidden_BLW: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        x_BLD = hidden_BLW[..., : self.shape.hidden_size]
        before_BLD, shift = _shifted(x_BLD, state["channel_shift"], lengths_B)
        return self._mix(x_BLD, before_BLD), {"channel_shift": shift}

    def _mix(self, x_D: Tensor, before_D: Tensor) -> Tensor:
        inner = F.relu(self.key(torch.lerp(x_D, before_D, self.x_k))).square()
        return F.pad(self.value(inner), (0, self.shape.value_width))


def _shifted(x_BLD: Tensor, last_BD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """The token before each (B, L, D), and the last of the first `lengths_B` (B, D)."""
    history_BTD = torch.cat([last_BD[:, None], x_BLD], 1)
    rows_B = torch.arange(len(lengths_B), device=lengths_B.device)
    return history_BTD[:, :-1], history_BTD[rows_B, lengths_B]


def _ramp(size: int) -> Tensor:
    """From 0 up to below 1."""
    return torch.arange(size) / size


def _line(size: int) -> Tensor:
    """From -0.5 to 0.5."""
    return torch.arange(size) / max(size - 1, 1) - 0.5
