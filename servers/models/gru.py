"""A GRU language model: a stack of GRU layers between a tied embedding and head.

    r = sigmoid(W_r x + U_r h)      n = tanh(W_n x + r (U_n h))
    z = sigmoid(W_z x + U_z h)      h = (1 - z) n + z h

with biases everywhere. Source: Cho et al., arXiv 1406.1078, section 2.3. There the reset gate r
works on h before U_n; here, as in torch.nn.GRU, it works on U_n h with its bias.
Shapes: B sequences, L tokens, D width, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, cast

import torch
from torch import Tensor, nn

from harness_servers.models.config_values import require_tied
from harness_servers.models.protocol import positive_int
from harness_servers.models.stacked_model import StackedModel
from harness_servers.models.token_mixer import RowState, TokenMixer

_MAX_LAYERS: Final = 1024


class GruLayer(TokenMixer):
    """One layer of torch.nn.GRU; what it says is what it keeps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)
        with torch.no_grad():
            # Update gates that start on the side of keeping, as an LSTM's forget gates do.
            self.gru.get_parameter("bias_ih_l0")[width : 2 * width] = 1.0

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """The hidden state (B, D)."""
        return {"hidden": torch.zeros(num_rows, self.gru.hidden_size, device=device)}

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        output_BLD: Tensor = self.gru(hidden_BLD)[0]
        return output_BLD

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        output_BD = torch.gru_cell(hidden_BD, state["hidden"], *self.gru.all_weights[0])
        return output_BD, {"hidden": output_BD}

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        output_BLD, _ = self.gru(hidden_BLD, state["hidden"][None])
        return output_BLD, {"hidden": output_BLD[torch.arange(len(lengths_B)), lengths_B - 1]}


class GruModel(StackedModel):
    """Layers that follow one another directly, as those of LstmModel do."""

    family = "RNN"

    def __init__(self, *, vocabulary_size: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.words = nn.Embedding(vocabulary_size, width)
        nn.init.normal_(self.words.weight, std=0.3)
        self.stack = nn.ModuleList(GruLayer(width) for _ in range(num_layers))
        self.head_bias = nn.Parameter(torch.zeros(vocabulary_size))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """See CheckpointModel.from_config."""
        require_tied(config)
        return cls(
            vocabulary_size=positive_int(config, "vocab_size"),
            width=positive_int(config, "hidden_size"),
            num_layers=positive_int(config, "num_hidden_layers", at_most=_MAX_LAYERS),
        )

    @property
    def embedding(self) -> nn.Embedding:
        """See StackedModel."""
        return self.words

    @property
    def layers(self) -> Sequence[TokenMixer]:
        """See StackedModel."""
        return cast(Sequence[TokenMixer], self.stack)

    @property
    def last_norm(self) -> nn.Module:
        """None: what a GRU says lies between -1 and 1."""
        return nn.Identity()

    @property
    def head_weight(self) -> Tensor:
        """See StackedModel."""
        return self.words.weight

    def finish(self, hidden_D: Tensor) -> Tensor:
        """See StackedModel.finish."""
        return super().finish(hidden_D) + self.head_bias
