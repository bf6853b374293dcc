"""mLSTM: a matrix for each head that associates keys with values, under exponential gates.

    C[t] = f[t] C[t-1] + i[t] k[t] v[t]^T      n[t] = f[t] n[t-1] + i[t] k[t]
    h[t] = C[t]^T q[t] / max(|n[t] . q[t]|, 1)

with i = exp(i~), f = sigmoid(f~), and q over the root of its width. All is kept over exp(m), m[t] =
max(log f[t] + m[t-1], i~[t]), so that nothing overflows. Source: Beck et al., "xLSTM", arXiv
2405.04517, section 2.3 and appendix A.3; Beck et al., "xLSTM 7B", arXiv 2503.13427, section 3, for
the caps of gates and the norm.
Shapes: B sequences, L tokens, Q and S tokens of a chunk, D width, H heads, K key width of a head, P
value width of a head.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from harness_servers.models.head_norm import HeadNorm
from harness_servers.models.token_mixer import RowState, TokenMixer
from harness_servers.models.xlstm_config import XlstmConfig

_CHUNK_SIZE: Final = 64


class MlstmLayer(TokenMixer):
    """The layer between its projections."""

    def __init__(self, config: XlstmConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, bias = config.hidden_size, config.num_heads, config.use_bias
        self.q = nn.Linear(width, config.key_size, bias=bias)
        self.k = nn.Linear(width, config.key_size, bias=bias)
        self.v = nn.Linear(width, config.value_size, bias=bias)
        self.ogate_preact = nn.Linear(width, config.value_size, bias=bias)
        self.igate_preact = nn.Linear(width, heads)
        self.fgate_preact = nn.Linear(width, heads)
        self.multihead_norm = HeadNorm(
            heads, config.value_size // heads, eps=config.norm_epsilon, use_bias=bias
        )
        self.out_proj = nn.Linear(config.value_size, width, bias=bias)

    def init_state(self, num_rows: int, device: torch.device) -> RowState:
        """C (B, H, K, P), n (B, H, K), m (B, H)."""
        heads = (num_rows, self.config.num_heads)
        keys = self.config.key_size // self.config.num_heads
        values = self.config.value_size // self.config.num_heads
        return {
            "memory": torch.zeros(*heads, keys, values, device=device),
            "normalizer": torch.zeros(*heads, keys, device=device),
            "log_scale": torch.zeros(heads, device=device),
        }

    def forward(self, hidden_BLD: Tensor) -> Tensor:
        """See TokenMixer.forward."""
        num_rows, length, _ = hidden_BLD.shape
        lengths_B = torch.full((num_rows,), length, device=hidden_BLD.device)
        return self.read(hidden_BLD, lengths_B, self.init_state(num_rows, hidden_BLD.device))[0]

    def step(self, hidden_BD: Tensor, state: RowState) -> tuple[Tensor, RowState]:
        """See TokenMixer.step."""
        query_BHK, key_BHK, value_BHP, input_BH, forget_BH = self._project(hidden_BD)
        scale_BH = torch.maximum(forget_BH + state["log_scale"], input_BH)
        decay_BH1 = torch.exp(forget_BH + state["log_scale"] - scale_BH)[..., None]
        key_BHK = torch.exp(input_BH - scale_BH)[..., None] * key_BHK
        normalizer_BHK = decay_BH1 * state["normalizer"] + key_BHK
        memory_BHKP = decay_BH1[..., None] * state["memory"]
        memory_BHKP = memory_BHKP + key_BHK[..., None] * value_BHP[:, :, None]
        h_BHP = self._divide(
            (query_BHK[:, :, None] @ memory_BHKP)[:, :, 0],
            (query_BHK * normalizer_BHK).sum(-1),
            scale_BH,
        )
        after = {"memory": memory_BHKP, "normalizer": normalizer_BHK, "log_scale": scale_BH}
        return self._finish(h_BHP, hidden_BD), after

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        query, key, value, input_BLH, forget_BLH = self._project(hidden_BLD)
        is_padding_BL1 = (
            torch.arange(hidden_BLD.shape[1], device=lengths_B.device) >= lengths_B[:, None]
        )[..., None]
        # What stands behind a row's end adds nothing and lets nothing be forgotten.
        input_BLH = input_BLH.masked_fill(is_padding_BL1, -torch.inf)
        forget_BLH = forget_BLH.masked_fill(is_padding_BL1, 0.0)
        by_head = [x.transpose(1, 2) for x in (query, key, value, input_BLH, forget_BLH)]
        outputs = []
        for start in range(0, hidden_BLD.shape[1], _CHUNK_SIZE):
            chunk = [x[:, :, start : start + _CHUNK_SIZE] for x in by_head]
            h_BHQP, state = self._read_chunk(chunk, state)
            outputs.append(h_BHQP)
        return self._finish(torch.cat(outputs, 2).transpose(1, 2), hidden_BLD), state

    def _read_chunk(self, projected: Sequence[Tensor], state: RowState) -> tuple[Tensor, RowState]:
        """Many tokens at once: h (B, H, Q, P), and the state after them.

        What a token is scaled by cancels out, so no gradient goes through it.
        """
        query_BHQK, key_BHSK, value_BHSP, input_BHS, forget_BHQ = projected
        total_BHQ = forget_BHQ.cumsum(-1)
        length = total_BHQ.shape[-1]
        is_later_QS = torch.ones(length, length, device=total_BHQ.device).triu(1).bool()
        weight_BHQS = total_BHQ[..., None] - total_BHQ[:, :, None] + input_BHS[:, :, None]
        weight_BHQS = weight_BHQS.masked_fill(is_later_QS, -torch.inf)
        before_BHQ = total_BHQ + state["log_scale"][..., None]
        scale_BHQ = torch.maximum(before_BHQ, weight_BHQS.amax(-1)).detach()
        weight_BHQS = torch.exp(weight_BHQS - scale_BHQ[..., None])
        before_BHQ1 = torch.exp(before_BHQ - scale_BHQ)[..., None]
        score_BHQS = (query_BHQK @ key_BHSK.mT) * weight_BHQS
        query_BHQK = query_BHQK * before_BHQ1
        h_BHQP = self._divide(
            query_BHQK @ state["memory"] + score_BHQS @ value_BHSP,
            (query_BHQK @ state["normalizer"][..., None])[..., 0] + score_BHQS.sum(-1),
            scale_BHQ,
        )
        # The last row of weights says what is left of each token at the end.
        key_BHSK = key_BHSK * weight_BHQS[:, :, -1, :, None]
        decay_BH1 = before_BHQ1[:, :, -1]
        return h_BHQP, {
            "memory": decay_BH1[..., None] * state["memory"] + key_BHSK.mT @ value_BHSP,
            "normalizer": decay_BH1 * state["normalizer"] + key_BHSK.sum(2),
            "log_scale": scale_BHQ[..., -1],
        }

    def _project(self, hidden_D: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of tokens (..., D): q, k (..., H, K), v (..., H, P), logarithms of i and f (..., H)."""
        query_HK, key_HK, value_HP = (
            x.view(*x.shape[:-1], self.config.num_heads, -1)
            for x in (self.q(hidden_D), self.k(hidden_D), self.v(hidden_D))
        )
        cap = self.config.gate_cap
        input_H = cap * torch.tanh(self.igate_preact(hidden_D) / cap)
        forget_H = F.logsigmoid(cap * torch.tanh(self.fgate_preact(hidden_D) / cap))
        return query_HK * query_HK.shape[-1] ** -0.5, key_HK, value_HP, input_H, forget_H

    def _divide(self, sum_HP: Tensor, divisor_H: Tensor, scale_H: Tensor) -> Tensor:
        divisor_H = torch.maximum(divisor_H.abs(), torch.exp(-scale_H)) + self.config.epsilon
        return sum_HP / divisor_H[..., None]

    def _finish(self, h_HP: Tensor, hidden_D: Tensor) -> Tensor:
        gate = torch.sigmoid(self.ogate_preact(hidden_D))
        output_D: Tensor = self.out_proj(gate * self.multihead_norm(h_HP))
        return output_D
