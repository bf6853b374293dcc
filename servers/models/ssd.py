"""The state space recurrence of Mamba2: a slow loop from the equations, and two fast ways.

    state[t] = exp(dt[t] A) state[t-1] + dt[t] x[t] B[t]^T        y[t] = state[t] C[t] + D x[t]

Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, sections 6 and 7.
Shapes: B sequences, L tokens, H heads, P head width, N state, G groups of heads that share B and C,
Q tokens of a chunk, J chunks, S slots. The state is float32: it is summed into at every token.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from servers.models.slot_runs import Runs


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanInput:
    """What a mixer makes of its tokens; without L where there is one token a row."""

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

    A token with dt = 0 leaves the state as it is and so pads.
    """
    _, length, num_heads, _ = given.x_BLHP.shape
    chunk_size = min(max_chunk_size, length)
    padding = -length % chunk_size
    x_BHJQP, b_BGJQN, c_BGJQN = (
        torch.unflatten(F.pad(tensor, (0, 0, 0, 0, 0, padding)), 1, (-1, chunk_size)).permute(
            0, 3, 1, 2, 4
        )
        for tensor in (given.x_BLHP, given.b_BLGN, given.c_BLGN)
    )
    dt_BJQH = torch.unflatten(F.pad(given.dt_BLH, (0, 0, 0, padding)), 1, (-1, chunk_size))
    dt_BHJQ = dt_BJQH.permute(0, 3, 1, 2)
    x_BHJQP = x_BHJQP * dt_BHJQ[..., None]
    log_decay_BHJQ = torch.cumsum(dt_BHJQ * given.a_H[:, None, None], -1)
    y_BHJQP = _within_chunks(x_BHJQP, log_decay_BHJQ, b_BGJQN, c_BGJQN)
    before_BHJPN, state_BHPN = _between_chunks(x_BHJQP, log_decay_BHJQ, b_BGJQN, state_BHPN)
    carried_BHJQP = _per_head(c_BGJQN, num_heads) @ before_BHJPN.transpose(-1, -2)
    y_BHJQP = y_BHJQP + carried_BHJQP * torch.exp(log_decay_BHJQ)[..., None]
    y_BLHP = y_BHJQP.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :length]
    return y_BLHP, state_BHPN


def step(given: ScanInput, state_SHPN: Tensor, runs: Runs) -> Tensor:
    """One token a row within the pool: y (B, H, P); the slots of `runs` are changed in place."""
    x_BHP, dt_BH = given.x_BLHP, given.dt_BLH
    num_heads = x_BHP.shape[1]
    b_BHN, c_BHN = _per_head(given.b_BLGN, num_heads), _per_head(given.c_BLGN, num_heads)
    decay_BH = torch.exp(dt_BH * given.a_H)
    gain_BHP = dt_BH[..., None] * x_BHP
    outputs = []
    for rows, slots in runs:
        state_BHPN = state_SHPN[slots]
        state_BHPN.mul_(decay_BH[rows, :, None, None])
        state_BHPN.addcmul_(gain_BHP[rows, :, :, None], b_BHN[rows, :, None, :])
        # The row vector on the left: on the right it is eight times slower on a CPU.
        outputs.append(c_BHN[rows, :, None, :] @ state_BHPN.transpose(-1, -2))
    return torch.cat(outputs)[:, :, 0]


def _within_chunks(
    x_BHJQP: Tensor, log_decay_BHJQ: Tensor, b_BGJQN: Tensor, c_BGJQN: Tensor
) -> Tensor:
    """What the tokens of a chunk get from those before them in it: (B, H, J, Q, P)."""
    chunk_size = x_BHJQP.shape[3]
    # Decay from after token s to token q, for s <= q.
    span_BHJQQ = log_decay_BHJQ[..., :, None] - log_decay_BHJQ[..., None, :]
    is_past_QQ = torch.ones(chunk_size, chunk_size, dtype=torch.bool, device=x_BHJQP.device).tril()
    span_BHJQQ = torch.exp(span_BHJQQ.masked_fill(~is_past_QQ, -torch.inf))
    scores_BGJQQ = c_BGJQN @ b_BGJQN.transpose(-1, -2)
    return (_per_head(scores_BGJQQ, x_BHJQP.shape[1]) * span_BHJQQ) @ x_BHJQP


def _between_chunks(
    x_BHJQP: Tensor, log_decay_BHJQ: Tensor, b_BGJQN: Tensor, state_BHPN: Tensor
) -> tuple[Tensor, Tensor]:
    """The state before each chunk (B, H, J, P, N), and after the last."""
    to_end_BHJQ = torch.exp(log_decay_BHJQ[..., -1:] - log_decay_BHJQ)
    b_BHJQN = _per_head(b_BGJQN, x_BHJQP.shape[1])
    gain_BHJPN = (x_BHJQP * to_end_BHJQ[..., None]).transpose(-1, -2) @ b_BHJQN
    chunk_decay_BHJ = torch.exp(log_decay_BHJQ[..., -1])
    before = []
    for chunk in range(gain_BHJPN.shape[2]):
        before.append(state_BHPN)
        state_BHPN = chunk_decay_BHJ[:, :, chunk, None, None] * state_BHPN + gain_BHJPN[:, :, chunk]
    return torch.stack(before, 2), state_BHPN


def _per_head(groups_BG: Tensor, num_heads: int) -> Tensor:
    """Every group once for each of its heads."""
    return groups_BG.repeat_interleave(num_heads // groups_BG.shape[1], 1)
