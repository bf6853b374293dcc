"""The state space recurrence of Mamba2: a slow loop from the equations, and one for training.

    state[t] = exp(dt[t] A) state[t-1] + dt[t] x[t] B[t]^T        y[t] = state[t] C[t] + D x[t]

Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, sections 6 and 7.
Shapes: B sequences, L tokens, H heads, P head width, N state, G groups of heads that share B and C,
R heads of a group, M = R P their width together, Q tokens of a chunk, J chunks. The state is
float32: it is summed into at every token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanInput:
    """What a mixer makes of its tokens."""

    x_BLHP: Tensor
    dt_BLH: Tensor
    a_H: Tensor
    b_BLGN: Tensor
    c_BLGN: Tensor


def scan_slow(given: ScanInput, state_BHPN: Tensor) -> tuple[Tensor, Tensor]:
    """One token after the other, straight from the equations (without D): y (B, L, H, P), state."""
    num_heads = given.x_BLHP.shape[2]
    outputs = []
    for t in range(given.x_BLHP.shape[1]):
        x_BHP, dt_BH = given.x_BLHP[:, t], given.dt_BLH[:, t]
        b_BHN = _per_head(given.b_BLGN[:, t], num_heads)
        c_BHN = _per_head(given.c_BLGN[:, t], num_heads)
        decay_BH = torch.exp(dt_BH * given.a_H)
        update_BHPN = (dt_BH[..., None] * x_BHP)[..., None] * b_BHN[:, :, None, :]
        state_BHPN = decay_BH[..., None, None] * state_BHPN + update_BHPN
        outputs.append((state_BHPN * c_BHN[:, :, None, :]).sum(-1))
    return torch.stack(outputs, 1), state_BHPN


def scan_chunked(
    given: ScanInput, state_BHPN: Tensor, max_chunk_size: int
) -> tuple[Tensor, Tensor]:
    """The same in matrix products: within chunks like attention, between chunks by their states.

    A token with dt = 0 leaves the state as it is and so pads. Heads of a group are folded into one
    matrix wherever they share B or C: no copy of those for every head.
    """
    length = given.x_BLHP.shape[1]
    chunk_size = min(max_chunk_size, length)
    x_BJQHP, dt_BJQH, b_BJQGN, c_BJQGN = (
        _in_chunks(tensor, chunk_size)
        for tensor in (given.x_BLHP, given.dt_BLH, given.b_BLGN, given.c_BLGN)
    )
    b_BJGQN, c_BJGQN = b_BJQGN.transpose(2, 3), c_BJQGN.transpose(2, 3)
    x_BJQHP = x_BJQHP * dt_BJQH[..., None]
    log_decay_BJQH = torch.cumsum(dt_BJQH * given.a_H, 2)
    before_BJHPN, state_BHPN = _between_chunks(x_BJQHP, log_decay_BJQH, b_BJGQN, state_BHPN)
    before_BJGMN = _fold_heads(before_BJHPN, 2, b_BJGQN.shape[2])
    carried_BJQHP = _unfold_heads(c_BJGQN @ before_BJGMN.transpose(-1, -2), x_BJQHP)
    y_BJQHP = carried_BJQHP * torch.exp(log_decay_BJQH)[..., None]
    y_BJQHP = y_BJQHP + _within_chunks(x_BJQHP, log_decay_BJQH, b_BJGQN, c_BJGQN)
    return y_BJQHP.flatten(1, 2)[:, :length], state_BHPN


def _within_chunks(
    x_BJQHP: Tensor, log_decay_BJQH: Tensor, b_BJGQN: Tensor, c_BJGQN: Tensor
) -> Tensor:
    """What the tokens of a chunk get from those before them in it: (B, J, Q, H, P)."""
    chunk_size = x_BJQHP.shape[2]
    log_decay_BJHQ = log_decay_BJQH.transpose(2, 3)
    # Decay from after token s to token q, for s <= q.
    span_BJHQQ = log_decay_BJHQ[..., :, None] - log_decay_BJHQ[..., None, :]
    is_future_QQ = torch.ones(chunk_size, chunk_size, dtype=torch.bool, device=x_BJQHP.device)
    span_BJHQQ = span_BJHQQ.masked_fill_(is_future_QQ.triu(1), -torch.inf).exp_()
    scores_BJGQQ = c_BJGQN @ b_BJGQN.transpose(-1, -2)
    span_BJGRQQ = torch.unflatten(span_BJHQQ, 2, (scores_BJGQQ.shape[2], -1))
    weights_BJHQQ = (span_BJGRQQ * scores_BJGQQ[:, :, :, None]).flatten(2, 3)
    return (weights_BJHQQ @ x_BJQHP.transpose(2, 3)).transpose(2, 3)


def _between_chunks(
    x_BJQHP: Tensor, log_decay_BJQH: Tensor, b_BJGQN: Tensor, state_BHPN: Tensor
) -> tuple[Tensor, Tensor]:
    """The state before each chunk (B, J, H, P, N), and after the last."""
    to_end_BJQH = torch.exp(log_decay_BJQH[:, :, -1:] - log_decay_BJQH)
    x_BJGQM = _fold_heads(x_BJQHP * to_end_BJQH[..., None], 3, b_BJGQN.shape[2]).transpose(2, 3)
    gain_BJHPN = (x_BJGQM.transpose(-1, -2) @ b_BJGQN).reshape(
        *x_BJQHP.shape[:2], *state_BHPN.shape[1:]
    )
    chunk_decay_BJH = torch.exp(log_decay_BJQH[:, :, -1])
    before = []
    # Unbound at once: the gradient of an index at every chunk would fill a whole tensor with zeros.
    for gain_BHPN, decay_BH in zip(gain_BJHPN.unbind(1), chunk_decay_BJH.unbind(1), strict=True):
        before.append(state_BHPN)
        state_BHPN = torch.addcmul(gain_BHPN, decay_BH[..., None, None], state_BHPN)
    return torch.stack(before, 1), state_BHPN


def _in_chunks(tensor_BL: Tensor, chunk_size: int) -> Tensor:
    """(B, J, Q, ...) of (B, L, ...), zeros behind."""
    padding = -tensor_BL.shape[1] % chunk_size
    if padding:
        tensor_BL = F.pad(tensor_BL, (0, 0) * (tensor_BL.ndim - 2) + (0, padding))
    return torch.unflatten(tensor_BL, 1, (-1, chunk_size))


def _fold_heads(by_head: Tensor, dim: int, num_groups: int) -> Tensor:
    """Heads at `dim` and their width behind them: by group, all of its heads in one (M = R P)."""
    return torch.unflatten(by_head, dim, (num_groups, -1)).flatten(dim + 1, dim + 2)


def _unfold_heads(y_BJGQM: Tensor, like_BJQHP: Tensor) -> Tensor:
    return y_BJGQM.transpose(2, 3).reshape(like_BJQHP.shape)


def _per_head(groups_BG: Tensor, num_heads: int) -> Tensor:
    """Every group once for each of its heads."""
    return groups_BG.repeat_interleave(num_heads // groups_BG.shape[1], 1)
