"""Attention that keeps so many tokens, and drops the one that the newest attends to least.

Source: Oren et al., "Transformers are Multi-State RNNs", arXiv 2401.06104, and what its code does:
a layer drops for all its heads together, by the mean of their weights; the newest token may be the
one that is dropped; what is kept stays rotated by the place that it had. That code cuts a prompt
once, after its last token; here a prompt is read like what follows it, token by token, so that a
text leaves the same tokens in whatever pieces it is read, and no more than N are ever kept.
Shapes: B sequences, L tokens, D width, H query heads, G key-value heads, P head width, N tokens
that are kept, T = N + 1.
"""

import math

import torch
from torch import Tensor

from harness_servers.models.bounded_attention import BoundedAttention
from harness_servers.models.token_mixer import RowState, choose_rows


class TovaAttention(BoundedAttention):
    """Each token attends to itself and to the `num_kept` tokens that were left before it."""

    def read(
        self, hidden_BLD: Tensor, lengths_B: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        """See TokenMixer.read."""
        places_L = torch.arange(hidden_BLD.shape[1], device=hidden_BLD.device)
        query_BLHP, key_BLGP, value_BLGP = self.project(
            hidden_BLD, state["count"][:, None] + places_L
        )
        mixed = []
        for t in range(hidden_BLD.shape[1]):
            token = query_BLHP[:, t], key_BLGP[:, t], value_BLGP[:, t]
            mixed_BHP, after = self._attend(*token, state)
            mixed.append(mixed_BHP)
            is_read_B = t < lengths_B
            if is_read_B.all():
                state = after
            else:
                state = {name: choose_rows(is_read_B, after[name], state[name]) for name in state}
        return self.finish(torch.stack(mixed, 1)), state

    def _attend(
        self, query_BHP: Tensor, key_BGP: Tensor, value_BGP: Tensor, state: RowState
    ) -> tuple[Tensor, RowState]:
        key_BTGP = torch.cat([state["key"], key_BGP[:, None]], 1)
        value_BTGP = torch.cat([state["value"], value_BGP[:, None]], 1)
        places_T = torch.arange(self.num_kept + 1, device=query_BHP.device)
        is_there_BT = places_T >= self.num_kept - state["count"][:, None]
        # Q query heads share a key-value head.
        query_BGQP = torch.unflatten(query_BHP, 1, (self.shape.num_key_value_heads, -1))
        score_BGQT = torch.einsum("bgqp,btgp->bgqt", query_BGQP, key_BTGP)
        score_BGQT = score_BGQT / math.sqrt(self.shape.head_dim)
        weight_BGQT = score_BGQT.masked_fill(~is_there_BT[:, None, None], -math.inf).softmax(-1)
        mixed_BGQP = torch.einsum("bgqt,btgp->bgqp", weight_BGQT, value_BTGP)
        # Of equals the first: an empty place while there is one, then the oldest token.
        dropped_B = weight_BGQT.mean((1, 2)).argmin(-1)
        kept_BN = places_T[:-1] + (places_T[:-1] >= dropped_B[:, None])
        rows_B1 = torch.arange(len(query_BHP), device=query_BHP.device)[:, None]
        return mixed_BGQP.flatten(1, 2), {
            "key": key_BTGP[rows_B1, kept_BN],
            "value": value_BTGP[rows_B1, kept_BN],
            "count": state["count"] + 1,
        }
