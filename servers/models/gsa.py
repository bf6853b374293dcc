"""Gated Slot Attention, in the layout of flash-linear-attention's `gsa`.

The mixer is gated slots (gated_slots.py); what they give is activated, normed over all heads and
projected; a feed-forward part follows it. Heads that share keys, values and slots share their
state. Source: Zhang et al., "Gated Slot Attention for Efficient Linear-Time Sequence Modeling",
arXiv 2409.07146, section 3. As in the library scores are not scaled, and the norm is as wide as the
residual stream: values have to be, too.
Shapes: B sequences, L tokens, D width, G heads of keys and values, R queries of each, K keys,
V values, M slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.chunked_mixer import is_read
from harness_servers.models.config_values import (
    flag,
    positive_float,
    require_divisor,
    require_value,
)
from harness_servers.models.fla_layout import MixerModel, optional_int, whole_share
from harness_servers.models.gated_slots import SlotInputs, Slots, slots_rows, slots_step
from harness_servers.models.protocol import ConfigError, positive_int
from harness_servers.models.qkv_mixer import QkvMixer
from harness_servers.models.rms_norm import RmsNorm
from harness_servers.models.token_mixer import RowState

_FEATURE_MAPS: Final = ("swish", "relu", "t2r")


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotShape:
    """The sizes of one mixer."""

    hidden_size: int
    num_heads: int
    num_kv_heads: int
    key_size: int
    num_slots: int
    # None without convolutions.
    conv_kernel: int | None
    # Of queries and keys.
    feature_map: str
    # Logarithms of what slots keep are divided by this: the higher, the longer they remember.
    gate_normalizer: float
    norm_epsilon: float

    @property
    def value_size(self) -> int:
        """V."""
        return self.hidden_size // self.num_heads


class _LearntMap(nn.Module):
    """The feature map t2r: one projection for all heads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(size, size, bias=False)

    def forward(self, x_K: Tensor) -> Tensor:
        return F.relu(self.layer(x_K))


class GatedSlotAttention(QkvMixer):
    """Gated slots between their projections."""

    def __init__(self, shape: SlotShape) -> None:
        size, kv_heads = shape.hidden_size, shape.num_kv_heads
        channels = {
            "q": shape.num_heads * shape.key_size,
            "k": kv_heads * shape.key_size,
            "v": kv_heads * shape.value_size,
        }
        super().__init__(size, channels, shape.conv_kernel)
        self.shape = shape
        self.f_proj = nn.Linear(size, kv_heads * shape.num_slots, bias=False)
        kinds = {"swish": nn.SiLU, "relu": nn.ReLU}
        is_learnt = shape.feature_map not in kinds
        self.feature_map = _LearntMap(shape.key_size) if is_learnt else kinds[shape.feature_map]()
        self.g_norm = RmsNorm(size, eps=shape.norm_epsilon)
        self.o_proj = nn.Linear(size, size, bias=False)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The slots' keys (B, G, M, K) and values (B, G, M, V), and the convolutions' memory."""
        shape = self.shape
        slots = (num_rows, shape.num_kv_heads, shape.num_slots)
        return {
            "slot_keys": torch.zeros(*slots, shape.key_size, device=device),
            "slot_values": torch.zeros(*slots, shape.value_size, device=device),
            **self.init_memory(num_rows, device),
        }

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        qkv, memory = self.project_token(hidden_BD, state)
        value_BGRV, slots = slots_step(self._inputs(hidden_BD, qkv), _slots(state))
        return self._finish(value_BGRV), {**memory, **_rows(slots)}

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        qkv, memory = self.project_rows(hidden_BLD, lengths_B, state)
        given = self._inputs(hidden_BLD, qkv)
        is_read_BL11 = is_read(hidden_BLD, lengths_B)[..., None, None]
        given = replace(given, log_keep_BGM=given.log_keep_BGM * is_read_BL11)
        value_BLGRV, slots = slots_rows(given, _slots(state))
        return self._finish(value_BLGRV), {**memory, **_rows(slots)}

    def _inputs(self, hidden_D: Tensor, qkv: list[Tensor]) -> SlotInputs:
        shape = self.shape
        query, key, value = qkv if shape.conv_kernel is None else map(F.silu, qkv)
        by_group = (shape.num_kv_heads, -1, shape.key_size)
        gate_GM = torch.unflatten(self.f_proj(hidden_D), -1, (shape.num_kv_heads, -1))
        return SlotInputs(
            query_BGRK=self.feature_map(torch.unflatten(query, -1, by_group)),
            key_BGK=self.feature_map(torch.unflatten(key, -1, (shape.num_kv_heads, -1))),
            value_BGV=F.silu(torch.unflatten(value, -1, (shape.num_kv_heads, -1))),
            log_keep_BGM=F.logsigmoid(gate_GM) / shape.gate_normalizer,
        )

    def _finish(self, value_GRV: Tensor) -> Tensor:
        output_D: Tensor = self.o_proj(self.g_norm(F.silu(value_GRV.flatten(-3))))
        return output_D


class GsaModel(MixerModel):
    """A stack of mixers and feed-forward parts."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of the library's config. Raises ConfigError."""
        shape = _mixer_shape(config)
        return cls(config, lambda: GatedSlotAttention(shape))


def _slots(state: RowState) -> Slots:
    return Slots(keys_BGMK=state["slot_keys"], values_BGMV=state["slot_values"])


def _rows(slots: Slots) -> RowState:
    return {"slot_keys": slots.keys_BGMK, "slot_values": slots.values_BGMV}


def _mixer_shape(config: Mapping[str, Any]) -> SlotShape:
    config = {"num_heads": 4, "num_slots": 64, "conv_size": 4, **config}
    # What the library reads and leaves out of account.
    for key, only in {
        "use_output_gate": False,
        "use_norm": True,
        "elementwise_affine": True,
    }.items():
        require_value(config, key, only)
    require_value(config, "expand_v", 1)
    feature_map = config.get("feature_map", "swish")
    if feature_map not in _FEATURE_MAPS:
        known = ", ".join(_FEATURE_MAPS)
        raise ConfigError(f"config.json: feature_map is {feature_map!r}; known are {known}")
    hidden_size, num_heads = positive_int(config, "hidden_size"), positive_int(config, "num_heads")
    require_divisor(config, "num_heads", "hidden_size", hidden_size)
    num_kv_heads = optional_int(config, "num_kv_heads", num_heads)
    if num_kv_heads != num_heads:
        require_divisor(config, "num_kv_heads", "num_heads", num_heads)
    key_width = whole_share(
        config, "expand_k", positive_float(config, "expand_k", 1), "hidden_size"
    )
    require_divisor(config, "num_heads", "the width of keys,", key_width)
    key_size = key_width // num_heads
    return SlotShape(
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        key_size=key_size,
        num_slots=optional_int(config, "num_slots", key_size),
        conv_kernel=positive_int(config, "conv_size")
        if flag(config, "use_short_conv", False)
        else None,
        feature_map=feature_map,
        gate_normalizer=positive_float(config, "gate_logit_normalizer", 8),
        norm_epsilon=positive_float(config, "norm_eps", 1e-6),
    )
