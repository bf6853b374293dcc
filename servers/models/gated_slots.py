"""Gated slots: as many places for keys and values as there are, each with its own forgetting.

    keys[t] = keep[t] keys[t-1] + (1 - keep[t]) k[t]        (slot by slot; values likewise)
    y[t] = softmax(keys[t] q[t]) . values[t]

Over a chunk two passes do this, first over keys, then over values: what each token finds in a slot
of what each earlier one left there is the same in both. Source: Zhang et al., "Gated Slot Attention
for Efficient Linear-Time Sequence Modeling", arXiv 2409.07146, section 3.
Shapes: B sequences, L tokens, G heads, R queries of each, C chunks of Q tokens, K keys, V values,
M slots.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness_servers.models.chunked_mixer import into_chunks, out_of_chunks


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotInputs:
    """Of one token a row, or, with a dimension L before G, of many."""

    query_BGRK: Tensor
    key_BGK: Tensor
    value_BGV: Tensor
    # Logarithm of keep.
    log_keep_BGM: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """The state."""

    keys_BGMK: Tensor
    values_BGMV: Tensor


def slots_step(given: SlotInputs, slots: Slots) -> tuple[Tensor, Slots]:
    """One token a row: outputs (B, G, R, V) and the slots after it."""
    keep_BGM1 = given.log_keep_BGM.exp()[..., None]
    write_BGM1 = -torch.expm1(given.log_keep_BGM)[..., None]
    keys_BGMK = keep_BGM1 * slots.keys_BGMK + write_BGM1 * given.key_BGK[..., None, :]
    values_BGMV = keep_BGM1 * slots.values_BGMV + write_BGM1 * given.value_BGV[..., None, :]
    share_BGRM = (given.query_BGRK @ keys_BGMK.mT).softmax(-1)
    return share_BGRM @ values_BGMV, Slots(keys_BGMK=keys_BGMK, values_BGMV=values_BGMV)


def slots_rows(given: SlotInputs, slots: Slots) -> tuple[Tensor, Slots]:
    """All tokens of rows: outputs (B, L, G, R, V) and the slots after them, with gradients.

    A token whose log_keep is 0 leaves the slots as they are.
    """
    length, num_queries = given.value_BGV.shape[1], given.query_BGRK.shape[-2]
    query_BGCQX = into_chunks(given.query_BGRK.flatten(-2))
    query_BGCQRK = torch.unflatten(query_BGCQX, -1, (num_queries, -1))
    key_BGCQK, value_BGCQV = into_chunks(given.key_BGK), into_chunks(given.value_BGV)
    log_keep_BGCQM = into_chunks(given.log_keep_BGM)
    until_BGCQM = log_keep_BGCQM.cumsum(-2)
    write_BGCQM = -torch.expm1(log_keep_BGCQM)
    left_BGCQQM = _left_over(until_BGCQM, write_BGCQM)
    keys_BGCMK, last_keys_BGMK = _starts(until_BGCQM, write_BGCQM, key_BGCQK, slots.keys_BGMK)
    values_BGCMV, last_values_BGMV = _starts(
        until_BGCQM, write_BGCQM, value_BGCQV, slots.values_BGMV
    )
    kept_BGCQ1M = until_BGCQM.exp()[..., None, :]
    score_BGCQRQ = query_BGCQRK @ key_BGCQK.mT[..., None, :, :]
    begun_BGCQRM = query_BGCQRK @ keys_BGCMK.mT[..., None, :, :]
    share_BGCQRM = (score_BGCQRQ @ left_BGCQQM + begun_BGCQRM * kept_BGCQ1M).softmax(-1)
    weight_BGCQRQ = share_BGCQRM @ left_BGCQQM.mT
    output_BGCQRV = weight_BGCQRQ @ value_BGCQV[..., None, :, :]
    output_BGCQRV = output_BGCQRV + (share_BGCQRM * kept_BGCQ1M) @ values_BGCMV[..., None, :, :]
    output_BLGX = out_of_chunks(output_BGCQRV.flatten(-2), length)
    after = Slots(keys_BGMK=last_keys_BGMK, values_BGMV=last_values_BGMV)
    return torch.unflatten(output_BLGX, -1, (num_queries, -1)), after


def _left_over(until_QM: Tensor, write_QM: Tensor) -> Tensor:
    """(..., Q, Q, M): what the row's token finds in a slot of what the column's wrote into it."""
    size = until_QM.shape[-2]
    is_later_QQ = torch.ones(size, size, dtype=torch.bool, device=until_QM.device).triu(1)
    since_QQM = until_QM[..., :, None, :] - until_QM[..., None, :, :]
    kept_QQM = since_QQM.masked_fill(is_later_QQ[..., None], -torch.inf).exp()
    return kept_QQM * write_QM[..., None, :, :]


def _starts(
    until_CQM: Tensor, write_CQM: Tensor, given_CQD: Tensor, slots_MD: Tensor
) -> tuple[Tensor, Tensor]:
    """What the slots hold before each chunk (..., C, M, D), and after the last."""
    at_end_CQM = write_CQM * (until_CQM[..., -1:, :] - until_CQM).exp()
    gain_CMD = at_end_CQM.mT @ given_CQD
    keep_CM1 = until_CQM[..., -1, :].exp()[..., None]
    starts = []
    for keep_M1, gain_MD in zip(keep_CM1.unbind(-3), gain_CMD.unbind(-3), strict=True):
        starts.append(slots_MD)
        slots_MD = keep_M1 * slots_MD + gain_MD
    return torch.stack(starts, -3), slots_MD
