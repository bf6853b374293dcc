"""sLSTM: an LSTM with exponential input gates, a normalizer, and memories mixed within heads.

    c[t] = f[t] c[t-1] + i[t] z[t]      n[t] = f[t] n[t-1] + i[t]      h[t] = o[t] c[t] / n[t]

with z = tanh(z~), i = exp(i~), f = sigmoid(f~), o = sigmoid(o~), each of W x[t] + R h[t-1] + b, R
of square blocks, a block a head. c and n are kept over exp(m), m[t] = max(log f[t] + m[t-1],
i~[t]).
Source: Beck et al., "xLSTM", arXiv 2405.04517, section 2.2 and appendix A; as in the block that it
draws there, a short convolution stands before i and f, and a norm of each head behind h.
The paper leaves open which of two functions f is: here the sigmoid. i~ and f~ are capped as those
of mLSTM are in this layout (arXiv 2503.13427, section 3).
Shapes: B sequences, L tokens, D width, H heads, P head width, J inputs that the convolution
remembers; a last dimension of 4 D has z, i, f and o of a head after one another, head by head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.causal_convolution import convolve_more, convolve_token
from harness_servers.models.head_norm import HeadNorm
from harness_servers.models.token_mixer import RowState, TokenMixer
from harness_servers.models.xlstm_config import XlstmConfig

_NAMES = ("cell", "normalizer", "log_scale", "hidden")


class SlstmLayer(TokenMixer):
    """The layer with its convolution; what is to be gated further is the feed-forward part's."""

    def __init__(self, config: XlstmConfig) -> None:
        super().__init__()
        self.config = config
        width, self._heads = config.hidden_size, config.slstm_num_heads
        size = width // self._heads
        self.conv1d = nn.Conv1d(width, width, config.slstm_conv_kernel, groups=width)
        self.z_preact = nn.Linear(width, width)
        self.igate_preact = nn.Linear(width, width)
        self.fgate_preact = nn.Linear(width, width)
        self.ogate_preact = nn.Linear(width, width)
        self.recurrent_weight = nn.Parameter(torch.zeros(self._heads, size, 4 * size))
        self.multihead_norm = HeadNorm(
            self._heads, size, eps=config.norm_epsilon, use_bias=config.use_bias
        )

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """c, n, m and h (B, H, P) each, and the convolution's last inputs (B, J, D)."""
        width, kernel = self.config.hidden_size, self.config.slstm_conv_kernel
        by_head = (num_rows, self._heads, width // self._heads)
        return {
            **{name: torch.zeros(by_head, device=device) for name in _NAMES},
            "conv": torch.zeros(num_rows, kernel - 1, width, device=device),
        }

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        num_rows, length, _ = hidden_BLD.shape
        lengths_B = torch.full((num_rows,), length, device=hidden_BLD.device)
        return self.read(hidden_BLD, lengths_B, self.init_state(num_rows, hidden_BLD.device))[0]

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        short_BD, conv_BJD = convolve_token(self.conv1d, hidden_BD, state["conv"])
        after = self._advance(self._of_inputs(hidden_BD, F.silu(short_BD)), state)
        output_BD: Tensor = self.multihead_norm(after["hidden"])
        return output_BD, {**after, "conv": conv_BJD}

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read. What only the inputs decide is computed of all tokens at once."""
        short_BLD, conv_BJD = convolve_more(
            self.conv1d.weight, hidden_BLD, state["conv"], lengths_B, bias_X=self.conv1d.bias
        )
        given = self._of_inputs(hidden_BLD, F.silu(short_BLD))
        is_ragged = bool((lengths_B != hidden_BLD.shape[1]).any())
        outputs = []
        for t, given_BHX in enumerate(given.unbind(1)):
            after = self._advance(given_BHX, state)
            outputs.append(after["hidden"])
            if is_ragged:
                is_read_B11 = (t < lengths_B)[:, None, None]
                after = {name: torch.where(is_read_B11, after[name], state[name]) for name in after}
            state = after
        output_BLD: Tensor = self.multihead_norm(torch.stack(outputs, 1))
        return output_BLD, {**state, "conv": conv_BJD}

    def _of_inputs(self, hidden_D: Tensor, short_D: Tensor) -> Tensor:
        """What x[t] adds to the four: (..., H, 4 P)."""
        parts = (
            self.z_preact(hidden_D),
            self.igate_preact(short_D),
            self.fgate_preact(short_D),
            self.ogate_preact(hidden_D),
        )
        return torch.cat([part.view(*part.shape[:-1], self._heads, -1) for part in parts], -1)

    def _advance(self, given_BHX: Tensor, state: RowState) -> RowState:
        of_hidden_HBX = torch.bmm(state["hidden"].transpose(0, 1), self.recurrent_weight)
        z, log_i, f, o = (given_BHX + of_hidden_HBX.transpose(0, 1)).chunk(4, -1)
        cap = self.config.gate_cap
        log_i = cap * torch.tanh(log_i / cap)
        log_f = F.logsigmoid(cap * torch.tanh(f / cap)) + state["log_scale"]
        # It cancels out of c / n, so no gradient goes through it.
        scale = torch.maximum(log_f, log_i).detach()
        decay, gain = torch.exp(log_f - scale), torch.exp(log_i - scale)
        cell = decay * state["cell"] + gain * torch.tanh(z)
        normalizer = decay * state["normalizer"] + gain
        hidden = torch.sigmoid(o) * cell / normalizer
        return {"cell": cell, "normalizer": normalizer, "log_scale": scale, "hidden": hidden}
