"""Gated DeltaNet, in the layout of flash-linear-attention's `gated_deltanet`.

The mixer is the gated delta rule (gated_delta_rule.py) between short convolutions and a gated norm,
with keys and queries of length 1; a feed-forward part follows it. Several value heads may share
the keys and queries of one head. Source: Yang, Kautz and Hatamizadeh, "Gated Delta Networks:
Improving Mamba2 with Delta Rule", arXiv 2412.06464, sections 3.1 and 3.4; `allow_neg_eigval`:
Grazzi et al., arXiv 2411.12537. The decays' rates are drawn from 0.01 up instead of 0,
whose logarithm could not be trained.
Shapes: B sequences, L tokens, D width, G heads of keys and queries, H heads of values, K keys,
V values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.chunked_mixer import is_read
from harness_servers.models.config_values import flag, positive_float, require_divisor
from harness_servers.models.fla_layout import MixerModel, optional_int, whole_share
from harness_servers.models.gated_delta_rule import DeltaInputs, delta_rows, delta_step
from harness_servers.models.initial_weights import initial_step_bias
from harness_servers.models.protocol import positive_int
from harness_servers.models.qkv_mixer import QkvMixer
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.token_mixer import RowState

_LENGTH_EPSILON: Final = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class DeltaNetShape:
    """The sizes of one mixer."""

    hidden_size: int
    num_key_heads: int
    num_value_heads: int
    key_size: int
    value_size: int
    # None without convolutions.
    conv_kernel: int | None
    use_gate: bool
    # Strengths are below this; above 1 a state may change its sign.
    highest_strength: float
    norm_epsilon: float


class GatedDeltaNet(QkvMixer):
    """The gated delta rule between its projections."""

    def __init__(self, shape: DeltaNetShape) -> None:
        size, heads = shape.hidden_size, shape.num_value_heads
        key_width, value_width = shape.num_key_heads * shape.key_size, heads * shape.value_size
        channels = {"q": key_width, "k": key_width, "v": value_width}
        super().__init__(size, channels, shape.conv_kernel)
        self.shape = shape
        self.a_proj = nn.Linear(size, heads, bias=False)
        self.b_proj = nn.Linear(size, heads, bias=False)
        self.A_log = nn.Parameter(torch.empty(heads))
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.g_proj = nn.Linear(size, value_width, bias=False) if shape.use_gate else None
        self.o_norm = RmsNorm(shape.value_size, eps=shape.norm_epsilon)
        self.o_proj = nn.Linear(value_width, size, bias=False)
        self._initialise()

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The delta rule's state (B, H, K, V), and what the convolutions remember."""
        shape = self.shape
        delta = (num_rows, shape.num_value_heads, shape.key_size, shape.value_size)
        memory = self.init_memory(num_rows, device)
        return {"delta": torch.zeros(delta, device=device), **memory}

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        qkv, after = self.project_token(hidden_BD, state)
        value_BHV, after["delta"] = delta_step(self._inputs(hidden_BD, qkv), state["delta"])
        return self._finish(value_BHV, hidden_BD), after

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        qkv, after = self.project_rows(hidden_BLD, lengths_B, state)
        given = self._inputs(hidden_BLD, qkv)
        is_read_BL1 = is_read(hidden_BLD, lengths_B)[..., None]
        given = replace(
            given,
            log_decay_BH=given.log_decay_BH * is_read_BL1,
            strength_BH=given.strength_BH * is_read_BL1,
        )
        value_BLHV, after["delta"] = delta_rows(given, state["delta"])
        return self._finish(value_BLHV, hidden_BLD), after

    def _inputs(self, hidden_D: Tensor, qkv: list[Tensor]) -> DeltaInputs:
        shape = self.shape
        query, key, value = (F.silu(part) for part in qkv)
        query_HK, key_HK = (self._unit_heads(part) for part in (query, key))
        step_H = F.softplus(self.a_proj(hidden_D) + self.dt_bias)
        return DeltaInputs(
            query_BHK=query_HK * shape.key_size**-0.5,
            key_BHK=key_HK,
            value_BHV=torch.unflatten(value, -1, (-1, shape.value_size)),
            log_decay_BH=-torch.exp(self.A_log) * step_H,
            strength_BH=shape.highest_strength * torch.sigmoid(self.b_proj(hidden_D)),
        )

    def _unit_heads(self, keys_X: Tensor) -> Tensor:
        """(..., H, K) of length 1; value heads that share a head of keys stand side by side."""
        keys_GK = torch.unflatten(keys_X, -1, (-1, self.shape.key_size))
        keys_GK = keys_GK * torch.rsqrt(keys_GK.square().sum(-1, keepdim=True) + _LENGTH_EPSILON)
        num_shares = self.shape.num_value_heads // self.shape.num_key_heads
        return keys_GK if num_shares == 1 else keys_GK.repeat_interleave(num_shares, -2)

    def _finish(self, value_HV: Tensor, hidden_D: Tensor) -> Tensor:
        normed: Tensor = self.o_norm(value_HV).flatten(-2)
        if self.g_proj is not None:
            normed = normed * F.silu(self.g_proj(hidden_D))
        output_D: Tensor = self.o_proj(normed)
        return output_D

    @torch.no_grad()
    def _initialise(self) -> None:
        """Rates up to 16."""
        self.A_log.uniform_(0.01, 16).log_()
        self.dt_bias.copy_(initial_step_bias(self.shape.num_value_heads))


class GatedDeltaNetModel(MixerModel):
    """A stack of mixers and feed-forward parts."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of the library's config. Raises ConfigError."""
        shape = _mixer_shape(config)
        return cls(config, lambda: GatedDeltaNet(shape))


def _mixer_shape(config: Mapping[str, Any]) -> DeltaNetShape:
    config = {"head_dim": 256, "num_heads": 6, "conv_size": 4, **config}
    num_key_heads = positive_int(config, "num_heads")
    num_value_heads = optional_int(config, "num_v_heads", num_key_heads)
    if num_value_heads != num_key_heads:
        require_divisor(config, "num_heads", "num_v_heads", num_value_heads)
    has_convolutions = flag(config, "use_short_conv", True)
    return DeltaNetShape(
        hidden_size=positive_int(config, "hidden_size"),
        num_key_heads=num_key_heads,
        num_value_heads=num_value_heads,
        key_size=positive_int(config, "head_dim"),
        value_size=whole_share(
            config, "expand_v", positive_float(config, "expand_v", 2), "head_dim"
        ),
        conv_kernel=positive_int(config, "conv_size") if has_convolutions else None,
        use_gate=flag(config, "use_gate", True),
        highest_strength=2.0 if flag(config, "allow_neg_eigval", False) else 1.0,
        norm_epsilon=positive_float(config, "norm_eps", 1e-6),
    )
