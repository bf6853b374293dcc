"""An LSTM language model: a stack of LSTM layers between a tied embedding and head.

Shapes: B sequences, L tokens, D width, G = 4 D gates, V vocabulary, S slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.config_values import require_tied
from harness_servers.models.protocol import State, positive_int

_MAX_LAYERS: Final = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class LstmConfig:
    """The shape of an LSTM checkpoint, as its config.json gives it."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int


class LstmModel(nn.Module):
    """Hochreiter and Schmidhuber (1997) with forget gates (Gers et al., 2000), as torch.nn.LSTM.

    Gates stand in torch's order: input, forget, cell, output. The state is float32: it is summed
    into at every token, and what a rounder format loses is lost for the rest of the sequence.
    """

    family: ClassVar[str] = "RNN"
    context_limit: int | None = None

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary_size = config.vocab_size
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.lstm = nn.LSTM(
            config.hidden_size, config.hidden_size, config.num_hidden_layers, batch_first=True
        )
        self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        self._initialise()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See CheckpointModel.from_config."""
        require_tied(config)
        return cls(
            LstmConfig(
                vocab_size=positive_int(config, "vocab_size"),
                hidden_size=positive_int(config, "hidden_size"),
                num_hidden_layers=positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS),
            )
        )

    def forward(self, tokens_BL: Tensor, is_wanted_BL: Tensor) -> Tensor:
        """Logits (T, V) at the T wanted positions, row by row, from an empty state: training."""
        hidden_BLD, _ = self.lstm(self.embedding(tokens_BL))
        return self._head(hidden_BLD[is_wanted_BL])

    def init_state(self, num_slots: int) -> State:
        """Hidden and cell state, (S, layers, D) each, zero."""
        shape = (num_slots, self.config.num_hidden_layers, self.config.hidden_size)
        return {
            name: torch.zeros(shape, dtype=torch.float32, device=self.head_bias.device)
            for name in ("hidden", "cell")
        }

    @torch.inference_mode()
    def prefill(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """Reads rows of up to L tokens; see SequenceModel.prefill."""
        return self._head(self._read(tokens_BL, lengths_B, state, slots_B)[1])

    @torch.inference_mode()
    def read_all(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> Tensor:
        """See SequenceModel.read_all."""
        packed, _ = self._read(tokens_BL, lengths_B, state, slots_B)
        hidden_BLD, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
        return self._head(hidden_BLD[torch.arange(tokens_BL.shape[1]) < lengths_B[:, None]])

    def _read(
        self, tokens_BL: Tensor, lengths_B: Tensor, state: State, slots_B: Tensor
    ) -> tuple[nn.utils.rnn.PackedSequence, Tensor]:
        """What the top layer says after every token, and after each row's last one (B, D)."""
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens_BL), lengths_B.cpu(), batch_first=True, enforce_sorted=False
        )
        before = tuple(
            state[name].index_select(0, slots_B).transpose(0, 1).contiguous()
            for name in ("hidden", "cell")
        )
        output, (hidden_KBD, cell_KBD) = self.lstm(packed, before)
        state["hidden"].index_copy_(0, slots_B, hidden_KBD.transpose(0, 1))
        state["cell"].index_copy_(0, slots_B, cell_KBD.transpose(0, 1))
        return output, hidden_KBD[-1]

    @torch.inference_mode()
    def decode(self, tokens_B: Tensor, state: State, slots_B: Tensor) -> Tensor:
        """Reads one token a row: one matrix product and one fused cell update a layer."""
        hidden_BKD = state["hidden"].index_select(0, slots_B)
        cell_BKD = state["cell"].index_select(0, slots_B)
        x_BD = self.embedding(tokens_B)
        for layer in range(self.config.num_hidden_layers):
            weights = self.lstm.all_weights[layer]
            x_BD, c_BD = torch.lstm_cell(x_BD, (hidden_BKD[:, layer], cell_BKD[:, layer]), *weights)
            hidden_BKD[:, layer] = x_BD
            cell_BKD[:, layer] = c_BD
        state["hidden"].index_copy_(0, slots_B, hidden_BKD)
        state["cell"].index_copy_(0, slots_B, cell_BKD)
        return self._head(x_BD)

    def state_bytes(self) -> int:
        """Two float32 vectors a layer."""
        return 2 * self.config.num_hidden_layers * self.config.hidden_size * 4

    def state_bytes_per_token(self) -> int:
        """Nothing grows."""
        return 0

    @torch.no_grad()
    def _initialise(self) -> None:
        """Before training: words far enough apart, and forget gates that start open."""
        width = self.config.hidden_size
        self.embedding.weight.normal_(0, 0.3)
        for layer in range(self.config.num_hidden_layers):
            self.lstm.get_parameter(f"bias_ih_l{layer}")[width : 2 * width] = 1.0

    def _head(self, hidden_D: Tensor) -> Tensor:
        return F.linear(hidden_D, self.embedding.weight, self.head_bias)
