"""The hybrid: Mamba2 layers and attention layers, in the layout of Hugging Face's `bamba`.

The key-value caches of the attention layers are the only state that grows.
Shapes: B sequences, L tokens, T cached tokens, D width, V vocabulary, S slots; see
mamba2_mixer.py and attention.py for the rest.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.bamba_config import HybridConfig, parse_hybrid
from harness_servers.models.bamba_layers import Backbone, Layer
from harness_servers.models.cached_attention import attend_cached, find_places
from harness_servers.models.caches import (
    FIRST_CAPACITY,
    NUM_READ,
    cache_name,
    lasting_bytes,
    row_bytes,
)
from harness_servers.models.packed_linear import PackedLinear
from harness_servers.models.packed_rows import Rows
from harness_servers.models.protocol import State


class BambaModel(nn.Module):
    """A stack of Mamba2 layers with attention at some of them; the paper's hybrid has it on top."""

    family: ClassVar[str] = "HYBRID"

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = config.vocabulary_size
        self.context_limit: int | None = config.context_limit
        self.model = Backbone(config)
        size = config.mixer.hidden_size
        self.lm_head = None if config.is_tied else nn.Linear(size, self.vocabulary_size, bias=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A model of the shape of a Hugging Face config. Raises ConfigError."""
        return cls(parse_hybrid(config))

    def forward(self, tokens_BL: Tensor, is_wanted_BL: Tensor) -> Tensor:
        """Logits (T, V) at the T wanted positions, row by row, from an empty state: training."""

        def mix(_index: int, layer: Layer, x_BLD: Tensor) -> Tensor:
            mixed_BLD: Tensor
            mixed_BLD = layer.self_attn(x_BLD) if layer.attends else layer.mamba(x_BLD)
            return mixed_BLD

        return F.linear(self.model(tokens_BL, mix)[is_wanted_BL], self._head_weight)

    def init_state(self, num_slots: int) -> State:
        """By layer convolution and scan as in mamba2.py, or caches of keys and values (S, T, G, P).

        All slots have the same number of rows, as many as the longest sequence ever needed.
        """
        device = self.model.embed_tokens.weight.device
        state = {NUM_READ: torch.zeros(num_slots, dtype=torch.long, device=device)}
        attention = self.config.attention
        cache = (num_slots, FIRST_CAPACITY, attention.num_key_value_heads, attention.head_dim)
        for index in range(self.config.num_layers):
            if index in self.config.attention_layers:
                for kind in ("key", "value"):
                    state[cache_name(kind, index)] = torch.zeros(cache, device=device)
            else:
                conv, scan = self.config.mixer.init_state(num_slots, device)
                state[f"conv.{index}"], state[f"scan.{index}"] = conv, scan
        return state

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads rows of up to L tokens in chunks; see SequenceModel.prefill."""
        rows = Rows(slots_B=slots_B, lengths_B=lengths_B)
        return self._head(rows.last(self._read(tokens_BL, state, rows)))

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        return self._head(self._read(tokens_BL, state, Rows(slots_B=slots_B, lengths_B=lengths_B)))

    def _read(self, tokens_BL: Tensor, state: State, rows: Rows) -> Tensor:
        """What the last norm says after every token: (T, D), the rows' tokens packed."""
        length = tokens_BL.shape[1]
        places = find_places(length, rows.lengths_B, state, rows.slots_B)

        def mix(index: int, layer: Layer, x_TD: Tensor) -> Tensor:
            if layer.attends:
                x_BLD = rows.unpack(x_TD, length)
                return rows.pack(attend_cached(layer.self_attn, index, x_BLD, state, places))
            states = state[f"conv.{index}"], state[f"scan.{index}"]
            return layer.mamba.read(x_TD, *states, rows, to_last=False)

        normed_TD: Tensor = self.model(rows.pack(tokens_BL), mix)
        return normed_TD

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """Reads one token a row, without copying states or caches; see SequenceModel.decode."""
        return self.prefill(tokens_B[:, None], torch.ones_like(slots_B), state, slots_B)

    def state_bytes(self) -> int:
        """Bytes of one sequence's recurrent states and of its count of tokens."""
        return lasting_bytes(self.init_state(1))

    def state_bytes_per_token(self) -> int:
        """Bytes of one key and one value in every attention layer."""
        return row_bytes(self.init_state(1))

    @property
    def _head_weight(self) -> Tensor:
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return head.weight

    @cached_property
    def _head(self) -> PackedLinear:
        """Made at the first read, as a mixer's constants are."""
        return PackedLinear(self._head_weight)
