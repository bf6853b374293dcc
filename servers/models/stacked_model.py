"""A causal language model of layers: all but what is between its tokens.

Shapes: B sequences, L tokens, T tokens of all rows, D width, V vocabulary, S slots.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.caches import NUM_READ, lasting_bytes, reserve_for, row_bytes
from harness_servers.models.protocol import State
from harness_servers.models.token_mixer import RowState, TokenMixer


class StackedModel(nn.Module):
    """Embedding, layers, norm and head. A subclass holds them under its layout's names.

    It sets `family` and `vocabulary_size`, and gives the four parts; where a layout does more than
    that to embeddings or logits, it says so in `embed` and `finish`.
    """

    family: str
    context_limit: int | None = None
    vocabulary_size: int

    @property
    def embedding(self) -> nn.Embedding:
        """Of the tokens."""
        raise NotImplementedError

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """From the first to the last, residuals and all."""
        raise NotImplementedError

    @property
    def last_norm(self) -> nn.Module:
        """Before the head."""
        raise NotImplementedError

    @property
    def head_weight(self) -> Tensor:
        """(V, D)."""
        raise NotImplementedError

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first layer is given: any leading dimensions, then D."""
        embedded: Tensor = self.embedding(tokens)
        return embedded

    def finish(self, hidden_D: Tensor) -> Tensor:
        """Logits, of any leading dimensions."""
        return F.linear(self.last_norm(hidden_D), self.head_weight)

    def forward(self, tokens_BL: Tensor, is_wanted_BL: Tensor) -> Tensor:
        """Logits (T, V) at the T wanted positions, row by row, from an empty state: training."""
        hidden_BLD = self.embed(tokens_BL)
        for layer in self.layers:
            hidden_BLD = layer(hidden_BLD)
        return self.finish(hidden_BLD[is_wanted_BL])

    def init_state(self, num_slots: int) -> State:
        """What each layer keeps, with the layer's number behind its name."""
        device = self.embedding.weight.device
        state = {
            f"{name}.{index}": tensor
            for index, layer in enumerate(self.layers)
            for name, tensor in layer.init_state(num_slots, device).items()
        }
        if any(layer.knows_position for layer in self.layers):
            state[NUM_READ] = torch.zeros(num_slots, dtype=torch.long, device=device)
        return state

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads rows of up to L tokens; see SequenceModel.prefill."""
        hidden_BLD = self._read(tokens_BL, lengths_B, state, slots_B)
        return self.finish(hidden_BLD[torch.arange(len(lengths_B)), lengths_B - 1])

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        hidden_BLD = self._read(tokens_BL, lengths_B, state, slots_B)
        return self.finish(hidden_BLD[torch.arange(tokens_BL.shape[1]) < lengths_B[:, None]])

    def _read(self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        reserve_for(state, lengths_B, slots_B)
        hidden_BLD = self.embed(tokens_BL)
        for index in range(len(self.layers)):
            hidden_BLD = self.read_layer(index, hidden_BLD, lengths_B, state, slots_B)
        _count(lengths_B, state, slots_B)
        return hidden_BLD

    def read_layer(
        self, index: int, hidden_BLD: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """What this layer says (B, L, D); its slots' states are changed in place."""
        rows = self._rows(index, state, slots_B)
        hidden_BLD, rows = self.layers[index].read(hidden_BLD, lengths_B, rows)
        _put_back(index, rows, state, slots_B)
        return hidden_BLD

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """Reads one token a row; see SequenceModel.decode."""
        reserve_for(state, torch.ones_like(slots_B), slots_B)
        hidden_BD = self.embed(tokens_B)
        for index, layer in enumerate(self.layers):
            hidden_BD, rows = layer.step(hidden_BD, self._rows(index, state, slots_B))
            _put_back(index, rows, state, slots_B)
        _count(torch.ones_like(slots_B), state, slots_B)
        return self.finish(hidden_BD)

    def state_bytes(self) -> int:
        """Bytes of what does not grow of one sequence's state."""
        return lasting_bytes(self.init_state(1))

    def state_bytes_per_token(self) -> int:
        """Bytes of a row of every cache."""
        return row_bytes(self.init_state(1))

    def _rows(self, index: int, state: State, slots_B: Tensor) -> RowState:
        rows = {
            name: state[f"{name}.{index}"].index_select(0, slots_B)
            for name in self._state_names[index]
        }
        if self.layers[index].knows_position:
            rows[NUM_READ] = state[NUM_READ][slots_B]
        return rows

    @cached_property
    def _state_names(self) -> list[list[str]]:
        device = torch.device("meta")
        return [list(layer.init_state(1, device)) for layer in self.layers]


def _put_back(index: int, rows: RowState, state: State, slots_B: Tensor) -> None:
    for name, tensor in rows.items():
        if name != NUM_READ:
            state[f"{name}.{index}"].index_copy_(0, slots_B, tensor)


def _count(lengths_B: Tensor, state: State, slots_B: Tensor) -> None:
    if NUM_READ in state:
        state[NUM_READ][slots_B] += lengths_B
